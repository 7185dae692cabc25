//! What users write as REPO: a path, `file:///…` or `s3://bucket/prefix`.

use std::path::PathBuf;
use std::str::FromStr;

use super::Error;

/// A parsed repository location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory on this machine.
    Local(PathBuf),
    /// A bucket, and a prefix without slashes at its ends (may be empty).
    S3 {
        /// Bucket name.
        bucket: String,
        /// Key prefix inside the bucket.
        prefix: String,
    },
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Location { location: text.into(), reason: reason.into() };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            if bucket.is_empty() {
                return Err(wrong("the bucket is missing; write s3://BUCKET/PREFIX"));
            }
            if prefix.split('/').any(|part| part == ".." || part == ".")
                || (!prefix.is_empty() && prefix.split('/').any(str::is_empty))
            {
                return Err(wrong("the prefix has an empty, `.` or `..` part"));
            }
            return Ok(Self::S3 { bucket: bucket.into(), prefix: prefix.into() });
        }
        if let Some(rest) = text.strip_prefix("file://") {
            if !rest.starts_with('/') {
                return Err(wrong("a file URL has three slashes: file:///path"));
            }
            return Ok(Self::Local(rest.into()));
        }
        if ["s3:", "file:"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(wrong(
                "it takes two slashes after the colon; write ./s3:… for such a folder",
            ));
        }
        if text.contains("://") {
            return Err(wrong("known schemes are s3:// and file://"));
        }
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        Ok(Self::Local(text.into()))
    }
}
