//! Counts every HTTP request that leaves the S3 client, as the bill will: a retry counts again, and
//! what the credential chain asks of other services does not count.

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::store::Counters;

/// The hook that the client runs before each request.
#[derive(Debug)]
pub(super) struct CountRequests(pub(super) Arc<Counters>);

impl Intercept for CountRequests {
    fn name(&self) -> &'static str {
        "CountRequests"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        Counters::add(match request.method() {
            "GET" if is_listing(request.uri()) => &self.0.list,
            "GET" => &self.0.get,
            "HEAD" => &self.0.head,
            "DELETE" => &self.0.delete,
            _ => &self.0.put,
        });
        Ok(())
    }
}

/// Whether a GET asks for a page of objects or of unfinished uploads.
fn is_listing(uri: &str) -> bool {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|part| part == "list-type=2" || part == "uploads" || part == "uploads=")
}
