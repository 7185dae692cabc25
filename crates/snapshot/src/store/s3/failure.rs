//! Turns what an S3 client reports into one sentence and a next step: here what keeps a request from
//! being answered; `refusal.rs` has what servers answer.

use std::error::Error as StdError;
use std::io;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

use super::refusal::Answer;
use crate::store::Error;

/// What was being done, for errors: `read`, `write`, `list`, `delete` or `open`, and the object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) action: &'static str,
    pub(super) key: &'a str,
}

impl Call<'_> {
    /// A failure that lasts until somebody mends something.
    pub(super) fn denied(self, reason: impl Into<String>, hint: impl Into<String>) -> Error {
        let (reason, hint) = (reason.into(), Some(hint.into()));
        Error::Denied { action: self.action, key: self.key.to_owned(), reason, hint }
    }

    /// A failure that may pass.
    pub(super) fn unavailable(self, reason: impl Into<String>, hint: impl Into<String>) -> Error {
        let (reason, hint) = (reason.into(), Some(hint.into()));
        Error::Unavailable { action: self.action, key: self.key.to_owned(), reason, hint }
    }

    pub(super) fn not_found(self) -> Error {
        Error::NotFound { key: self.key.to_owned() }
    }

    /// The answer began and did not end.
    pub(super) fn cut_short(self) -> Error {
        self.unavailable("the connection broke in the middle of the answer", NETWORK)
    }
}

/// The far end, as errors name it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) bucket: String,
    pub(super) endpoint: String,
    pub(super) region: String,
}

impl Peer {
    /// The error for a failed request.
    pub(super) fn failure<E>(&self, call: Call<'_>, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let endpoint = &self.endpoint;
        match error {
            SdkError::TimeoutError(_) => {
                call.unavailable(format!("{endpoint} does not answer"), NETWORK)
            }
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(connector) => self.unreachable(call, connector),
                None => call.unavailable(format!("the request to {endpoint} failed"), NETWORK),
            },
            SdkError::ServiceError(service) if service.raw().status().as_u16() >= 300 => {
                let answer = Answer::new(service.raw(), service.err());
                self.refused(call, &answer)
            }
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => call.denied(
                format!("the answer of {endpoint} is not one of S3"),
                "check the endpoint: a web console or a proxy may listen there",
            ),
            other => call.denied(
                format!("the request could not be made: {}", chain(other)),
                "check bucket name, endpoint and region",
            ),
        }
    }

    /// No answer at all: name resolution, connection, TLS.
    fn unreachable(&self, call: Call<'_>, error: &ConnectorError) -> Error {
        let endpoint = &self.endpoint;
        let text = chain(error);
        if error.is_timeout() {
            return call.unavailable(format!("{endpoint} does not answer"), NETWORK);
        }
        if text.contains("invalid peer certificate") {
            let why = text.rsplit("invalid peer certificate: ").next().unwrap_or_default();
            return call.denied(
                format!("the certificate of {endpoint} is not trusted: {}", brief(why)),
                "if the server has a certificate of your own authority, set SSL_CERT_FILE to that \
                 authority's PEM file",
            );
        }
        if text.contains("InvalidContentType") || text.contains("corrupt message") {
            return call.denied(
                format!("{endpoint} does not speak TLS"),
                "write the endpoint with http://, or with the port where the server speaks TLS",
            );
        }
        if text.contains("dns error") {
            return call.unavailable(
                format!("the name of {endpoint} could not be resolved"),
                "check the spelling of the endpoint and the name servers of this host",
            );
        }
        match io_kind(error) {
            Some(io::ErrorKind::ConnectionRefused) => call.unavailable(
                format!("nothing listens at {endpoint}"),
                "check host and port of the endpoint, and that the server runs",
            ),
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                call.unavailable(format!("there is no route to {endpoint}"), NETWORK)
            }
            _ if error.is_user()
                || error.is_other().then(|| text.contains("scheme")) == Some(true) =>
            {
                call.denied(
                    format!("`{endpoint}` is not a usable endpoint"),
                    "write http://HOST:PORT",
                )
            }
            _ => {
                let hint = match endpoint.starts_with("http://") {
                    true => format!("{PERHAPS_TLS}; else {NETWORK}"),
                    false => NETWORK.to_owned(),
                };
                call.unavailable(format!("the connection to {endpoint} broke"), hint)
            }
        }
    }
}

/// Whether a conditional write found an object in its place.
pub(super) fn is_taken<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(412)
}

/// HTTP status of the answer, if there was one.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

/// An error with its causes in one line, without repeating what a cause already says.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<io::Error>() {
            return Some(found.kind());
        }
        next = cause.source();
    }
    None
}

/// What a server said, on one line and of bounded length: it is a stranger's text.
pub(super) fn brief(text: &str) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.trim().to_owned()
}

pub(super) const PERHAPS_TLS: &str = "if the server speaks TLS, write the endpoint with https://";
const NETWORK: &str = "check the network between this host and the server";
