//! SASL for clients (RFC 4422): one mechanism's side of a dialogue. `rsasl` speaks most of them; the
//! two that hash with MD5, which it leaves out and servers still offer, are in `md5`.

mod md5;

use std::fmt;
use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::prelude::{Mechname, SASLClient, SessionError};
use rsasl::property::{AuthId, AuthzId, OAuthBearerToken, Password};
use rsasl::validate::NoValidation;

use self::md5::{CramMd5, DigestMd5};

/// A mechanism that the client can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802.
    ScramSha1,
    /// RFC 7628.
    OauthBearer,
    /// Google's and Microsoft's predecessor of it.
    Xoauth2,
    /// RFC 4422, appendix A: who we are the TLS certificate tells.
    External,
    /// RFC 2195.
    CramMd5,
    /// RFC 2831.
    DigestMd5,
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login.
    Login,
}

impl Mechanism {
    /// All, those first that tell an eavesdropper least.
    pub const ALL: [Mechanism; 9] = [
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::OauthBearer,
        Mechanism::Xoauth2,
        Mechanism::External,
        Mechanism::DigestMd5,
        Mechanism::CramMd5,
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// As in `AUTH`.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::Xoauth2 => "XOAUTH2",
            Mechanism::External => "EXTERNAL",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::DigestMd5 => "DIGEST-MD5",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// The mechanism with this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether the secret, or what is as good as it, is sent as it is: only through TLS.
    pub fn is_plaintext(self) -> bool {
        use Mechanism::{Login, OauthBearer, Plain, Xoauth2};
        matches!(self, Plain | Login | OauthBearer | Xoauth2)
    }
}

/// Who we are, and how we prove it.
#[derive(Clone)]
pub struct Credentials {
    /// The account.
    pub user: String,
    /// Its password, or an access token for OAUTHBEARER and XOAUTH2.
    pub secret: String,
    /// In whose name to act, if not in that of `user`.
    pub authorize_as: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a dialogue cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SaslError(String);

impl SaslError {
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// One side of a dialogue.
pub(crate) struct Dialogue {
    kind: Kind,
    mechanism: Mechanism,
    steps: u32,
    is_finished: bool,
    /// Whether nothing more may be asked of us, because it is finished or because it failed.
    is_over: bool,
}

enum Kind {
    Rsasl(Box<rsasl::prelude::Session<NoValidation>>),
    Cram(CramMd5),
    Digest(DigestMd5),
}

impl Dialogue {
    /// With the server `host`.
    pub(crate) fn start(
        mechanism: Mechanism,
        credentials: &Credentials,
        host: &str,
    ) -> Result<Self, SaslError> {
        let kind = match mechanism {
            Mechanism::CramMd5 => Kind::Cram(CramMd5::new(credentials)),
            Mechanism::DigestMd5 => Kind::Digest(DigestMd5::new(credentials, host)?),
            _ => Kind::Rsasl(Box::new(session(mechanism, credentials)?)),
        };
        Ok(Self { kind, mechanism, steps: 0, is_finished: false, is_over: false })
    }

    /// Whether the first word is ours, to be sent along with AUTH.
    pub(crate) fn is_first(&self) -> bool {
        match &self.kind {
            Kind::Rsasl(session) => session.are_we_first(),
            Kind::Cram(_) | Kind::Digest(_) => false,
        }
    }

    /// Our answer to a challenge; the first has none where we begin.
    pub(crate) fn step(&mut self, challenge: Option<&[u8]>) -> Result<Vec<u8>, SaslError> {
        self.steps += 1;
        match &mut self.kind {
            Kind::Cram(cram) => {
                self.is_finished = true;
                Ok(cram.answer(challenge.unwrap_or_default()))
            }
            Kind::Digest(digest) => {
                let answer = digest.answer(challenge.unwrap_or_default())?;
                self.is_finished = digest.is_finished();
                Ok(answer)
            }
            // A refusal comes as a challenge, and is to be acknowledged before it counts.
            Kind::Rsasl(_) if self.steps > 1 && self.mechanism == Mechanism::OauthBearer => {
                Ok(b"\x01".to_vec())
            }
            Kind::Rsasl(_) if self.steps > 1 && self.mechanism == Mechanism::Xoauth2 => {
                Ok(Vec::new())
            }
            // It panics when it is asked once more, or says the password again.
            Kind::Rsasl(_) if self.is_over => {
                Err(SaslError::new("the server goes on after the end of the dialogue"))
            }
            Kind::Rsasl(session) => {
                use Mechanism::{ScramSha1, ScramSha256};
                // Unless what follows goes well.
                self.is_over = true;
                if let (ScramSha1 | ScramSha256, Some(challenge)) = (self.mechanism, challenge) {
                    check_scram(challenge)?;
                }
                let mut answer = Vec::new();
                let state = session.step(challenge, &mut answer).map_err(SaslError::new)?;
                self.is_finished = state.is_finished();
                self.is_over = self.is_finished;
                Ok(answer)
            }
        }
    }

    /// Whether the server may now say that we are let in. Where it must prove itself first and has
    /// not, it may not.
    pub(crate) fn may_end(&self) -> bool {
        use Mechanism::{DigestMd5, ScramSha1, ScramSha256};
        self.is_finished || !matches!(self.mechanism, ScramSha1 | ScramSha256 | DigestMd5)
    }
}

/// What `rsasl` takes on trust: it panics at attributes without `=`, and hashes as often as it is told.
fn check_scram(challenge: &[u8]) -> Result<(), SaslError> {
    if !has_attributes(challenge) {
        return Err(SaslError::new("the server's challenge is not one of SCRAM"));
    }
    for attribute in challenge.split(|byte| *byte == b',') {
        if let Some(iterations) = attribute.strip_prefix(b"i=") {
            let iterations = std::str::from_utf8(iterations).ok().and_then(|i| i.parse().ok());
            if iterations.is_none_or(|iterations: u32| iterations > ITERATIONS_MAX) {
                let reason = format!("the server asks for more than {ITERATIONS_MAX} iterations");
                return Err(SaslError::new(reason));
            }
        }
    }
    Ok(())
}

/// Whether a message of SCRAM consists of `a=value` with commas between them (RFC 5802, 5).
pub(crate) fn has_attributes(message: &[u8]) -> bool {
    message.split(|byte| *byte == b',').all(|attribute| attribute.get(1) == Some(&b'='))
}

/// Takes a second or so; servers ask for 4096 (RFC 7677, 4) to some hundred thousand.
const ITERATIONS_MAX: u32 = 1_000_000;

struct Answers(Credentials);

impl SessionCallback for Answers {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let Credentials { user, secret, authorize_as } = &self.0;
        request
            .satisfy::<AuthId>(user)?
            .satisfy::<Password>(secret.as_bytes())?
            .satisfy::<OAuthBearerToken>(secret)?;
        if let Some(other) = authorize_as {
            request.satisfy::<AuthzId>(other)?;
        }
        Ok(())
    }
}

fn session(
    mechanism: Mechanism,
    credentials: &Credentials,
) -> Result<rsasl::prelude::Session<NoValidation>, SaslError> {
    let mut credentials = credentials.clone();
    // EXTERNAL and OAUTHBEARER name the account by the name to act in.
    if matches!(mechanism, Mechanism::External | Mechanism::OauthBearer)
        && credentials.authorize_as.is_none()
        && !credentials.user.is_empty()
    {
        credentials.authorize_as = Some(credentials.user.clone());
    }
    let config: Arc<SASLConfig> = SASLConfig::builder()
        .with_default_mechanisms()
        .with_callback(Answers(credentials))
        .map_err(SaslError::new)?;
    let name = Mechname::parse(mechanism.name().as_bytes()).map_err(SaslError::new)?;
    SASLClient::new(config).start_suggested(&[name]).map_err(SaslError::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(mechanism: Mechanism) -> Dialogue {
        let credentials =
            Credentials { user: "ann".into(), secret: "pass-phrase".into(), authorize_as: None };
        Dialogue::start(mechanism, &credentials, "mx.test").unwrap()
    }

    #[test]
    fn no_challenge_of_scram_makes_us_panic_or_compute_without_end() {
        for challenge in [
            "",
            "r",
            "r=",
            "r=NONCE",
            "r=NONCE,s=YQ==,i=4096",
            "r=x,s=YQ==,i=4096",
            "r=NONCEx,s",
            "r=NONCEx,,",
            "r=NONCEx,s=YQ==,i",
            "r=NONCEx,s=YQ==,i=",
            "r=NONCEx,s=YQ==,i=0",
            "r=NONCEx,s=YQ==,i=-1",
            "r=NONCEx,s=YQ==,i=1000001",
            "r=NONCEx,s=YQ==,i=4294967295",
            "r=NONCEx,s=!,i=4096",
            "m=x,r=NONCEx,s=YQ==,i=4096",
            "e=other-error",
            "\u{fffd}",
        ] {
            for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256] {
                let mut dialogue = dialogue(mechanism);
                let first = String::from_utf8(dialogue.step(None).unwrap()).unwrap();
                let (_, nonce) = first.split_once("r=").unwrap();
                let challenge = challenge.replace("NONCE", nonce);
                let error = dialogue.step(Some(challenge.as_bytes())).unwrap_err();
                assert!(!error.to_string().contains("pass-phrase"), "{challenge}: {error}");
                // Again, after it failed.
                assert!(dialogue.step(Some(b"r=x,s=YQ==,i=1")).is_err(), "{challenge}");
                assert!(!dialogue.may_end());
            }
        }
    }

    #[test]
    fn a_server_of_scram_that_does_not_know_the_password_does_not_let_us_in() {
        for last in ["", "v", "v=", "v=!", "v=YWJj", "e=other-error", "x=y"] {
            let mut dialogue = dialogue(Mechanism::ScramSha256);
            let first = String::from_utf8(dialogue.step(None).unwrap()).unwrap();
            let (_, nonce) = first.split_once("r=").unwrap();
            let challenge = format!("r={nonce}x,s=YQ==,i=1");
            assert!(dialogue.step(Some(challenge.as_bytes())).is_ok());
            assert!(!dialogue.may_end());
            assert!(dialogue.step(Some(last.as_bytes())).is_err(), "{last}");
            assert!(dialogue.step(Some(last.as_bytes())).is_err() && !dialogue.may_end());
        }
    }

    #[test]
    fn a_password_is_said_once() {
        for (mechanism, answers) in [(Mechanism::Plain, 1), (Mechanism::Login, 2)] {
            let mut dialogue = dialogue(mechanism);
            for _ in 0..answers {
                assert!(dialogue.step(Some(b"")).is_ok());
            }
            assert!(dialogue.step(Some(b"")).is_err(), "{mechanism:?}");
        }
    }
}
