//! What a user can say about an S3 service, and the client made from it. What is not said comes from
//! where every AWS tool takes it: environment, profile files, container and instance roles.

use std::fmt;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, ProvideCredentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_types::service_config::ServiceConfigKey;

use super::count::CountRequests;
use super::failure::{Peer, brief, chain};
use super::retry::Patience;
use crate::store::{Counters, Error, Result};

/// How to reach an S3 service. The default follows the AWS conventions throughout.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Base URL of the service; else `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile, AWS.
    pub endpoint_url: Option<String>,
    /// Region; else by AWS conventions, and `us-east-1` where an endpoint is set and no region.
    pub region: Option<String>,
    /// Profile in the AWS configuration files; else `AWS_PROFILE`, `default`.
    pub profile: Option<String>,
    /// Whether the bucket stands in the path and not in the host name; else whether an endpoint is
    /// set, because few services besides AWS have a host name for each bucket.
    pub path_style: Option<bool>,
    /// Credentials; else the AWS chain, which asks the network last.
    pub credentials: Option<Keys>,
    /// How long to wait and how often to try.
    pub patience: Patience,
    /// Objects with more bytes than this are uploaded in parts.
    pub multipart_above_bytes: u64,
    /// Size of a part in bytes, at least 5 MiB (a rule of S3). Parts grow where an object would have
    /// more than 10,000 of them.
    pub part_size_bytes: u64,
    /// Parts of one object in flight, each held in memory.
    pub parallel_parts: usize,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint_url: None,
            region: None,
            profile: None,
            path_style: None,
            credentials: None,
            patience: Patience::default(),
            multipart_above_bytes: 16 << 20,
            part_size_bytes: 8 << 20,
            parallel_parts: 4,
        }
    }
}

/// An access key with its secret.
#[derive(Clone)]
pub struct Keys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A client, and what to call its far end in errors. Asks for credentials once, so that missing
/// ones are reported here and in their own words.
pub(super) async fn connect(
    bucket: &str,
    options: &S3Options,
    counters: Arc<Counters>,
) -> Result<(Client, Peer)> {
    let mut shared = load(options, region(options).await).await;
    let endpoint = endpoint(&shared);
    if shared.region().is_none() {
        let region = match endpoint {
            Some(_) => Some(Region::from_static("us-east-1")),
            None => ImdsRegionProvider::builder().build().region().await,
        };
        if region.is_none() {
            let hint = "set AWS_REGION, or `region` in the profile, to the region of the bucket";
            return Err(refused(bucket, "no region is set", hint));
        }
        shared = load(options, region).await;
    }
    let region = shared.region().map(ToString::to_string).unwrap_or_default();
    check_credentials(bucket, &shared).await?;
    let config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(options.path_style.unwrap_or(endpoint.is_some()))
        // A checksum value goes with every PUT instead: the trailers that the SDK would add by
        // default are refused by many servers besides AWS.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::disabled())
        .interceptor(CountRequests(counters))
        .build();
    let endpoint = endpoint.unwrap_or_else(|| format!("AWS in {region}"));
    let peer = Peer { bucket: bucket.to_owned(), endpoint, region };
    Ok((Client::from_conf(config), peer))
}

/// The region that is set somewhere. The instance is asked only where nothing else helps: on a host
/// that is none of Amazon's the question takes seconds.
async fn region(options: &S3Options) -> Option<Region> {
    if let Some(region) = &options.region {
        return Some(Region::new(region.clone()));
    }
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = &options.profile {
        profile = profile.profile_name(name);
    }
    let environment = EnvironmentVariableRegionProvider::new();
    RegionProviderChain::first_try(environment).or_else(profile.build()).region().await
}

async fn load(options: &S3Options, region: Option<Region>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(options.patience.connect).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .timeout_config(timeouts)
        // Every attempt has a deadline of its own; a slow disk or server is not a failure before it.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &options.endpoint_url {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(keys) = &options.credentials {
        loader = loader.credentials_provider(Credentials::new(
            &keys.id,
            &keys.secret,
            keys.session_token.clone(),
            None,
            "options",
        ));
    }
    loader.load().await
}

/// The endpoint that the client will use, by the SDK's own order of sources; `None` for AWS.
fn endpoint(shared: &SdkConfig) -> Option<String> {
    if !shared.get_origin("endpoint_url").is_client_config() {
        let key = ServiceConfigKey::builder()
            .service_id("S3")
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .ok()?;
        if let Some(found) = shared.service_config().and_then(|config| config.load_config(key)) {
            return Some(found);
        }
    }
    shared.endpoint_url().map(str::to_owned)
}

async fn check_credentials(bucket: &str, shared: &SdkConfig) -> Result<()> {
    let Some(provider) = shared.credentials_provider() else {
        return Err(no_credentials(bucket));
    };
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(CredentialsError::CredentialsNotLoaded(_)) => Err(no_credentials(bucket)),
        // The instance is the last that is asked: when it fails, nobody before it had any.
        Err(error) if chain(&error).contains("IMDS") => Err(no_credentials(bucket)),
        Err(error) => Err(refused(
            bucket,
            &format!(
                "the AWS credentials could not be loaded: {}",
                brief(chain(&error).trim_start_matches(NOTHING_NEW)),
            ),
            "check AWS_PROFILE and the files ~/.aws/config and ~/.aws/credentials",
        )),
    }
}

fn no_credentials(bucket: &str) -> Error {
    refused(
        bucket,
        "no AWS credentials were found",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile that has them",
    )
}

fn refused(bucket: &str, reason: &str, hint: &str) -> Error {
    Error::Denied {
        action: "open",
        key: format!("s3://{bucket}"),
        reason: reason.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// What the SDK puts before the reason.
const NOTHING_NEW: &str = "an error occurred while loading credentials: ";
