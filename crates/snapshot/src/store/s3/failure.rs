//! Turns what an S3 client reports into one sentence and a next step. The table of server codes
//! covers AWS and the words of Garage, MinIO, Ceph and moto where they differ.

use std::error::Error as StdError;
use std::io;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

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

    /// The server answered, and the answer is no.
    fn refused(&self, call: Call<'_>, answer: &Answer) -> Error {
        let Self { bucket, endpoint, region } = self;
        let status = answer.status;
        match (answer.code.as_str(), status) {
            ("NoSuchKey", _) => call.not_found(),
            ("" | "NotFound", 404) if matches!(call.action, "read" | "delete") => call.not_found(),
            ("NoSuchBucket", _) => call.denied(
                format!("there is no bucket `{bucket}` at {endpoint}"),
                "create the bucket, or check its name, the endpoint and the region",
            ),
            ("InvalidAccessKeyId", _) => call.denied(
                "the server does not know the access key",
                "check AWS_ACCESS_KEY_ID, or which profile AWS_PROFILE names",
            ),
            ("SignatureDoesNotMatch", _) => call.denied(WRONG_SECRET, CHECK_SECRET),
            ("AccessDenied", _) if answer.says("quota is reached") => {
                Error::Full { key: call.key.to_owned() }
            }
            ("AccessDenied", _) if answer.says("Invalid signature") => {
                call.denied(WRONG_SECRET, CHECK_SECRET)
            }
            ("AccessDenied", _) if answer.says("No such key") => call.denied(
                "the server does not know the access key",
                "check AWS_ACCESS_KEY_ID, or which profile AWS_PROFILE names",
            ),
            ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired", _) => call.denied(
                "the session token of the credentials has expired",
                "get new credentials and run again: what is stored is not uploaded twice",
            ),
            ("InvalidToken", _) => call.denied(
                "the session token does not fit the access key",
                "check AWS_SESSION_TOKEN; unset it if the access key is a permanent one",
            ),
            ("RequestTimeTooSkewed", _) => call.denied(
                "the clocks of this host and of the server differ too much",
                "set the clock of this host (`timedatectl set-ntp true`)",
            ),
            (
                "PermanentRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
                _,
            )
            | ("", 301) => {
                let wanted = answer.region.as_deref();
                call.denied(
                    format!("the bucket `{bucket}` is not in the region {region}"),
                    match wanted {
                        Some(wanted) => format!("set AWS_REGION={wanted}"),
                        None => "set AWS_REGION to the region of the bucket".to_owned(),
                    },
                )
            }
            ("InvalidObjectState", _) => call.denied(
                "the object is in an archive storage class",
                "bring it back first with `aws s3api restore-object`",
            ),
            ("QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "StorageFull", _)
            | (_, 507) => Error::Full { key: call.key.to_owned() },
            ("ConditionalRequestConflict" | "OperationAborted", _) => call.unavailable(
                "another request for the same object was under way",
                "run again when the other run is done",
            ),
            ("BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest", _) => call.unavailable(
                "the bytes did not arrive as they were sent",
                "check the network and what stands in between: a proxy, a tunnel",
            ),
            ("AccessDenied" | "AllAccessDisabled" | "Forbidden" | "", 401 | 403) => call.denied(
                answer.with_message(
                    "access is denied",
                    &["Access Denied", "Access Denied.", "Forbidden"],
                ),
                permission(call.action),
            ),
            ("RequestTimeout" | "SlowDown" | "Throttling" | "ThrottlingException", _)
            | (_, 429 | 500 | 502..=506 | 508..=599) => call.unavailable(
                format!("the server answered {}", answer.name()),
                "the server is overloaded or in trouble: look at it, and run again later",
            ),
            (_, 501) => call.denied(
                answer.with_message("the server lacks a part of S3", &[]),
                "use another server, or a newer version of this one",
            ),
            ("", 400) if endpoint.starts_with("http://") => call.denied(
                "the server answered 400",
                format!("{PERHAPS_TLS}; else check bucket and endpoint"),
            ),
            _ => call.denied(
                answer.with_message(&format!("the server answered {}", answer.name()), &[]),
                "check bucket, endpoint and region",
            ),
        }
    }
}

/// The parts of a refusal that matter.
struct Answer {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
}

impl Answer {
    fn new(raw: &HttpResponse, error: &impl ProvideErrorMetadata) -> Self {
        let message = error.message().unwrap_or_default();
        // Which region would be right stands in a header or in the body, by server and by error.
        let body = raw.body().bytes().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let element = body.and_then(|text| text.split_once("<Region>")?.1.split_once('<'));
        let region = raw.headers().get("x-amz-bucket-region").or(element.map(|(name, _)| name));
        Self {
            status: raw.status().as_u16(),
            code: error.code().unwrap_or_default().to_owned(),
            message: brief(message),
            region: region.map(brief),
        }
    }

    fn says(&self, text: &str) -> bool {
        self.message.contains(text)
    }

    /// `503 SlowDown`.
    fn name(&self) -> String {
        format!("{} {}", self.status, self.code).trim_end().to_owned()
    }

    /// `reason`, with the server's own words unless they say nothing new.
    fn with_message(&self, reason: &str, empty: &[&str]) -> String {
        match self.message.as_str() {
            "" => reason.to_owned(),
            message if empty.contains(&message) => reason.to_owned(),
            message => format!("{reason}: {message}"),
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
fn brief(text: &str) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.trim().to_owned()
}

fn permission(action: &str) -> &'static str {
    match action {
        "write" => "the access key needs s3:PutObject and s3:AbortMultipartUpload on the prefix",
        "read" => {
            "the access key needs s3:GetObject on the prefix, and s3:ListBucket on the bucket: \
             without it missing objects are answered in this way too"
        }
        "delete" => "the access key needs s3:DeleteObject on the prefix",
        _ => "the access key needs s3:ListBucket on the bucket",
    }
}

const PERHAPS_TLS: &str = "if the server speaks TLS, write the endpoint with https://";
const NETWORK: &str = "check the network between this host and the server";
const WRONG_SECRET: &str = "the secret key does not fit the access key";
const CHECK_SECRET: &str = "check AWS_SECRET_ACCESS_KEY for a missing or changed character";
