//! AUTH on the server's side (RFC 4954), against a list of users. `rsasl` speaks the mechanisms; this knows who is
//! who. The list has passwords as they are: it is for tests and drills, and no other form serves every mechanism.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechanisms::oauthbearer::properties::{OAuthBearerError, OAuthBearerValidate};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::xoauth2::properties::XOAuth2Validate;
use rsasl::prelude::{Mechname, SASLServer, Session, SessionError};
use rsasl::property::{AuthId, AuthzId, OAuthBearerToken, Password};
use rsasl::validate::{Validate, Validation, ValidationError};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::sasl::has_attributes;

/// Mechanisms that a server can offer, in the order in which it does.
pub const OFFERED: [&str; 6] =
    ["SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"];

/// Users and their passwords. A password is a user's access token, too.
#[derive(Clone, Default)]
pub struct Users(Arc<HashMap<String, String>>);

/// A line that names no user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not USER:PASSWORD")]
pub struct BadUsers(usize);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

impl Users {
    /// Of lines `USER:PASSWORD`; empty ones and such that begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Self, BadUsers> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, password) = line.split_once(':').ok_or(BadUsers(at + 1))?;
            if user.is_empty() || password.is_empty() {
                return Err(BadUsers(at + 1));
            }
            users.insert(user.to_owned(), password.to_owned());
        }
        Ok(Self(Arc::new(users)))
    }

    /// A dialogue in which a client may prove who it is.
    pub(super) fn dialogue(&self, mechanism: &str) -> Option<Proof> {
        let config = SASLConfig::builder().with_default_mechanisms().with_callback(self.clone());
        let name = Mechname::parse(mechanism.as_bytes()).ok()?;
        let session = SASLServer::<Who>::new(config.ok()?).start_suggested(name).ok()?;
        Some(Proof { session, is_scram: mechanism.starts_with("SCRAM-"), steps: 0 })
    }

    fn is_password(&self, user: &str, password: &[u8]) -> bool {
        self.0.get(user).is_some_and(|known| is_same(known.as_bytes(), password))
    }

    /// Who has this token, if it is `user` where one is named.
    fn has_token(&self, user: Option<&str>, token: &str) -> Option<String> {
        // Of OAUTHBEARER it comes with its kind.
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        let users = self.0.iter().filter(|(name, _)| user.is_none_or(|user| user == *name));
        let mut owners = users.filter(|(_, known)| is_same(known.as_bytes(), token.as_bytes()));
        owners.next().map(|(name, _)| name.clone())
    }
}

/// One side of a dialogue.
pub(super) struct Proof {
    session: Session<Who>,
    is_scram: bool,
    /// What the client has said so far.
    steps: u32,
}

/// How a dialogue goes on.
pub(super) enum Next {
    /// The client is asked this.
    Ask(Vec<u8>),
    /// It is this user.
    Is(String),
    /// It is nobody.
    Nobody,
    /// What it said makes no sense.
    Nonsense,
}

impl Proof {
    /// Whether the client begins.
    pub(super) fn is_client_first(&self) -> bool {
        !self.session.are_we_first()
    }

    pub(super) fn step(&mut self, said: Option<&[u8]>) -> Next {
        if let Some(said) = said {
            if self.is_scram && !is_scram(said, self.steps) {
                return Next::Nonsense;
            }
            self.steps += 1;
        }
        let mut answer = Vec::new();
        match self.session.step(said, &mut answer) {
            // What SCRAM calls its error would tell strangers which users there are.
            Ok(_) if answer.starts_with(b"e=") => Next::Nobody,
            // What is left to be said is a proof of our own, which the client must have seen.
            Ok(state) if state.is_running() || state.has_sent_message() && !answer.is_empty() => {
                Next::Ask(answer)
            }
            Ok(_) => self.who(),
            Err(SessionError::MechanismDone) => self.who(),
            Err(_) => Next::Nonsense,
        }
    }

    fn who(&mut self) -> Next {
        match self.session.validation().flatten() {
            Some(user) => Next::Is(user),
            None => Next::Nobody,
        }
    }
}

/// Whether a client may say this; `rsasl` panics at attributes without `=`.
fn is_scram(said: &[u8], steps: u32) -> bool {
    match steps {
        // It begins with a header (RFC 5802, 7).
        0 => {
            let mut parts = said.splitn(3, |byte| *byte == b',').skip(1);
            let is_name = |name: &[u8]| name.is_empty() || name.starts_with(b"a=");
            parts.next().is_some_and(is_name) && parts.next().is_some_and(has_attributes)
        }
        1 => has_attributes(said),
        _ => true,
    }
}

/// What a dialogue comes to: a user, or nobody.
struct Who;

impl Validation for Who {
    type Value = Option<String>;
}

impl SessionCallback for Users {
    fn callback(
        &self,
        session: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let mechanism = session.mechanism().mechanism.as_str();
        if let Some(user) = context.get_ref::<AuthId>()
            && let Some(password) = self.0.get(user)
            && mechanism.starts_with("SCRAM-")
        {
            let keys = match mechanism {
                "SCRAM-SHA-1" => scram_sha1(password.as_bytes()),
                _ => scram_sha256(password.as_bytes()),
            };
            let Keys { stored, server } = &keys;
            let stored = ScramStoredPassword::new(ITERATIONS, SALT, stored, server);
            request.satisfy::<ScramStoredPassword<'_>>(&stored)?;
        }
        if let Some(token) = context.get_ref::<OAuthBearerToken>() {
            let user = context.get_ref::<AuthId>().or(context.get_ref::<AuthzId>());
            let is_known = self.has_token(user, token).is_some();
            let error = OAuthBearerError::new("invalid_token", None, None);
            let bearer = if is_known { Ok(()) } else { Err(error) };
            request.satisfy::<OAuthBearerValidate>(&bearer)?;
            let xoauth2 = if is_known { Ok(()) } else { Err(r#"{"status":"401"}"#) };
            request.satisfy::<XOAuth2Validate>(&xoauth2)?;
        }
        Ok(())
    }

    fn validate(
        &self,
        session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let mechanism = session.mechanism().mechanism.as_str();
        let user = context.get_ref::<AuthId>();
        let other = context.get_ref::<AuthzId>().filter(|other| !other.is_empty());
        let who = if let Some(token) = context.get_ref::<OAuthBearerToken>() {
            self.has_token(user.or(other), token)
        } else if mechanism.starts_with("SCRAM-") {
            user.filter(|user| self.0.contains_key(*user)).map(str::to_owned)
        } else {
            let password = context.get_ref::<Password>().unwrap_or_default();
            user.filter(|user| self.is_password(user, password)).map(str::to_owned)
        };
        // Nobody acts in another's name here.
        let who = who.filter(|who| other.is_none_or(|other| other == who));
        validate.with::<Who, _>(|| Ok(who))?;
        Ok(())
    }
}

/// Takes as long for the first byte that differs as for the last.
fn is_same(known: &[u8], said: &[u8]) -> bool {
    Sha256::digest(known) == Sha256::digest(said)
}

/// RFC 5802, 3.
struct Keys {
    stored: Vec<u8>,
    server: Vec<u8>,
}

macro_rules! scram {
    ($name:ident, $hash:ty) => {
        fn $name(password: &[u8]) -> Keys {
            let mac = |key: &[u8], text: &[u8]| {
                let mut mac =
                    Hmac::<$hash>::new_from_slice(key).expect("a key of any length will do");
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            };
            let mut block = mac(password, &[SALT, &[0, 0, 0, 1]].concat());
            let mut salted = block.clone();
            for _ in 1..ITERATIONS {
                block = mac(password, &block);
                salted.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
            }
            let stored = <$hash>::digest(mac(&salted, b"Client Key")).to_vec();
            Keys { stored, server: mac(&salted, b"Server Key") }
        }
    };
}

scram!(scram_sha1, Sha1);
scram!(scram_sha256, Sha256);

/// The least that RFC 7677 allows.
const ITERATIONS: u32 = 4096;

/// It guards passwords that are stored, and these are not.
const SALT: &[u8] = b"mailrig serve";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_of_scram_makes_us_panic() {
        let users = Users::parse("ann:secret").unwrap();
        let whole = "n,,n=ann,r=abc";
        for first in ["", "n", "n,", "n,x", "n,,", "n,,n", "n,,n=ann,r", "n,a,n=ann,r=a", ",,,"] {
            let mut proof = users.dialogue("SCRAM-SHA-256").unwrap();
            assert!(matches!(proof.step(Some(first.as_bytes())), Next::Nonsense), "{first}");
        }
        for last in ["", "c", "c=biws", "c=biws,r", "c=biws,r=abc,p", "c=biws,r=x,p=eA==,x", ",,"] {
            let mut proof = users.dialogue("SCRAM-SHA-256").unwrap();
            assert!(matches!(proof.step(Some(whole.as_bytes())), Next::Ask(_)));
            let next = proof.step(Some(last.as_bytes()));
            assert!(matches!(next, Next::Nonsense | Next::Nobody), "{last}");
        }
    }
}
