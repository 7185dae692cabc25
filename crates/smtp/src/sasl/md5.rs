//! CRAM-MD5 (RFC 2195) and DIGEST-MD5 (RFC 2831, with `qop=auth`). Obsolete, and offered by servers
//! all the same.

use ::md5::{Digest, Md5};
use hmac::{Hmac, KeyInit, Mac};

use super::{Credentials, SaslError};

pub(super) struct CramMd5 {
    user: String,
    secret: String,
}

impl CramMd5 {
    pub(super) fn new(credentials: &Credentials) -> Self {
        Self { user: credentials.user.clone(), secret: credentials.secret.clone() }
    }

    pub(super) fn answer(&self, challenge: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Md5>::new_from_slice(self.secret.as_bytes())
            .expect("a key of any length will do");
        mac.update(challenge);
        format!("{} {}", self.user, hex(&mac.finalize().into_bytes())).into_bytes()
    }
}

pub(super) struct DigestMd5 {
    user: String,
    secret: String,
    authorize_as: Option<String>,
    uri: String,
    cnonce: String,
    /// What the server must answer, once it is known.
    expected: Option<String>,
    is_finished: bool,
}

/// What a server's first challenge says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    realm: Option<String>,
    nonce: String,
    is_utf8: bool,
}

impl DigestMd5 {
    pub(super) fn new(credentials: &Credentials, host: &str) -> Result<Self, SaslError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(SaslError::new)?;
        Ok(Self::with_cnonce(credentials, format!("smtp/{host}"), hex(&random)))
    }

    fn with_cnonce(credentials: &Credentials, uri: String, cnonce: String) -> Self {
        let Credentials { user, secret, authorize_as } = credentials.clone();
        Self { user, secret, authorize_as, uri, cnonce, expected: None, is_finished: false }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(super) fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let fields = fields(challenge)?;
        if let Some(expected) = &self.expected {
            let proof = fields.iter().find(|(name, _)| name == "rspauth").map(|(_, value)| value);
            if proof != Some(expected) {
                return Err(SaslError::new("the server did not prove that it knows the password"));
            }
            self.is_finished = true;
            return Ok(Vec::new());
        }
        let Challenge { realm, nonce, is_utf8 } = Challenge::of(fields)?;
        let realm_text = realm.as_deref().unwrap_or_default();
        let secret = [
            narrow(&self.user, is_utf8),
            narrow(realm_text, is_utf8),
            narrow(&self.secret, is_utf8),
        ]
        .join(&b':');
        let mut a1 = Md5::digest(secret).to_vec();
        a1.extend_from_slice(format!(":{nonce}:{}", self.cnonce).as_bytes());
        if let Some(other) = &self.authorize_as {
            a1.extend_from_slice(format!(":{other}").as_bytes());
        }
        let session = hex(&Md5::digest(a1));
        let proof = |method: &str| {
            let a2 = hex(&Md5::digest(format!("{method}:{}", self.uri)));
            let all = format!("{session}:{nonce}:00000001:{}:auth:{a2}", self.cnonce);
            hex(&Md5::digest(all))
        };
        self.expected = Some(proof(""));
        let mut answer = String::new();
        if is_utf8 {
            answer.push_str("charset=utf-8,");
        }
        answer.push_str(&format!("username={}", quoted(&self.user)));
        if let Some(realm) = &realm {
            answer.push_str(&format!(",realm={}", quoted(realm)));
        }
        answer.push_str(&format!(
            ",nonce={},nc=00000001,cnonce={},digest-uri={},response={},qop=auth",
            quoted(&nonce),
            quoted(&self.cnonce),
            quoted(&self.uri),
            proof("AUTHENTICATE"),
        ));
        if let Some(other) = &self.authorize_as {
            answer.push_str(&format!(",authzid={}", quoted(other)));
        }
        Ok(answer.into_bytes())
    }
}

impl Challenge {
    fn of(fields: Vec<(String, String)>) -> Result<Self, SaslError> {
        let mut challenge = Challenge::default();
        let (mut has_algorithm, mut has_auth) = (false, true);
        for (name, value) in fields {
            match &*name {
                // The first of several is as good as any: nobody is there to choose.
                "realm" if challenge.realm.is_none() => challenge.realm = Some(value),
                "nonce" => challenge.nonce = value,
                "charset" => challenge.is_utf8 = value.eq_ignore_ascii_case("utf-8"),
                "algorithm" => has_algorithm = value.eq_ignore_ascii_case("md5-sess"),
                "qop" => has_auth = value.split(',').any(|qop| qop.trim() == "auth"),
                _ => {}
            }
        }
        if challenge.nonce.is_empty() || !has_algorithm || !has_auth {
            return Err(SaslError::new("the server's challenge is not one of DIGEST-MD5"));
        }
        Ok(challenge)
    }
}

/// `name=value` with commas between them; a value may be quoted.
fn fields(challenge: &[u8]) -> Result<Vec<(String, String)>, SaslError> {
    let bad = || SaslError::new("the server's challenge cannot be read");
    let text = std::str::from_utf8(challenge).map_err(|_| bad())?;
    let (mut fields, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return Ok(fields);
        }
        let (name, after) = rest.split_once('=').ok_or_else(bad)?;
        let value = if let Some(quoted) = after.strip_prefix('"') {
            let (mut value, mut chars) = (String::new(), quoted.char_indices());
            rest = loop {
                match chars.next().ok_or_else(bad)? {
                    (at, '"') => break &quoted[at + 1..],
                    (_, '\\') => value.push(chars.next().ok_or_else(bad)?.1),
                    (_, c) => value.push(c),
                }
            };
            value
        } else {
            let end = after.find(',').unwrap_or(after.len());
            rest = &after[end..];
            after[..end].trim().to_owned()
        };
        fields.push((name.trim().to_ascii_lowercase(), value));
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// For hashing a text is ISO 8859-1 if it can be (RFC 2831, 2.1.2.1).
fn narrow(text: &str, is_utf8: bool) -> Vec<u8> {
    let narrow: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    narrow.filter(|_| is_utf8).unwrap_or_else(|| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &str, secret: &str) -> Credentials {
        Credentials { user: user.into(), secret: secret.into(), authorize_as: None }
    }

    #[test]
    fn cram_md5_answers_as_in_rfc_2195() {
        let cram = CramMd5::new(&credentials("tim", "tanstaaftanstaaf"));
        let answer = cram.answer(b"<1896.697170952@postoffice.reston.mci.net>");
        assert_eq!(answer, b"tim b913a602c7eda7a495b4e6e7334d3890");
    }

    /// RFC 2831, 4, with the service of the example.
    #[test]
    fn digest_md5_answers_as_in_rfc_2831() {
        let mut digest = DigestMd5::with_cnonce(
            &credentials("chris", "secret"),
            "imap/elwood.innosoft.com".into(),
            "OA6MHXh6VqTrRk".into(),
        );
        let challenge = br#"realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8"#;
        let answer = String::from_utf8(digest.answer(challenge).unwrap()).unwrap();
        assert!(answer.contains("response=d388dad90d4bbd760a152321f2143af7,"), "{answer}");
        assert!(!digest.is_finished());
        let mut impostor = DigestMd5 { expected: Some("other".into()), ..digest };
        assert!(impostor.answer(b"rspauth=ea40f60335c427b5527b84dbabcdfffd").is_err());
        impostor.expected = Some("ea40f60335c427b5527b84dbabcdfffd".into());
        assert_eq!(impostor.answer(b"rspauth=ea40f60335c427b5527b84dbabcdfffd"), Ok(vec![]));
    }

    #[test]
    fn challenges_that_cannot_be_read_are_errors() {
        for challenge in
            ["", "nonce", "nonce=\"a", "nonce=\"a\\", "nonce=a", "algorithm=md5-sess", "\u{fffd}="]
        {
            let mut digest = DigestMd5::with_cnonce(&credentials("a", "b"), "c".into(), "d".into());
            assert!(digest.answer(challenge.as_bytes()).is_err(), "{challenge}");
        }
        let both = fields(br#"a="x\"y,z" , b=c,,D = e"#).unwrap();
        let expected = [("a", "x\"y,z"), ("b", "c"), ("d", "e")];
        assert_eq!(both, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
