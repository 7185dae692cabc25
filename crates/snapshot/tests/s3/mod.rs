//! What is particular to S3: sentences for failures, retries, uploads in parts.

mod conventions;
mod multipart;
mod peer;
mod reach;
mod retries;
mod sentences;

use std::time::Duration;

use snapshot::store::Error;
use snapshot::store::s3::{Keys, Patience, S3, S3Options};

use crate::servers::{Access, BUCKET};

/// A store in the bucket that every test server starts with.
pub(crate) fn open(access: &Access, prefix: &str) -> S3 {
    S3::open(BUCKET, prefix, &options(access)).unwrap()
}

/// Options that reach a test server, with short waits between tries.
pub(crate) fn options(access: &Access) -> S3Options {
    S3Options {
        endpoint_url: Some(access.endpoint.clone()),
        region: Some(access.region.into()),
        credentials: Some(Keys {
            id: access.id.clone(),
            secret: access.secret.clone(),
            session_token: None,
        }),
        patience: Patience { first_wait: Duration::from_millis(10), ..Patience::default() },
        ..S3Options::default()
    }
}

/// What a person reads: the sentence, and the next step on a line of its own.
pub(crate) fn told(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}
