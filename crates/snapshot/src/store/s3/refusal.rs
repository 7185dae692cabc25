//! What servers say when they refuse, as a table from their codes to sentences. It covers AWS, and
//! the words of Garage, MinIO, Ceph and moto where they differ.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::ProvideErrorMetadata;

use super::failure::{Call, PERHAPS_TLS, Peer, brief};
use crate::store::Error;

impl Peer {
    /// The server answered, and the answer is no.
    pub(super) fn refused(&self, call: Call<'_>, answer: &Answer) -> Error {
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
pub(super) struct Answer {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
}

impl Answer {
    pub(super) fn new(raw: &HttpResponse, error: &impl ProvideErrorMetadata) -> Self {
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

const WRONG_SECRET: &str = "the secret key does not fit the access key";
const CHECK_SECRET: &str = "check AWS_SECRET_ACCESS_KEY for a missing or changed character";
