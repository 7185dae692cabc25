//! One message as people and machines write it: plain, multipart, with attachments, in UTF-8 or in
//! the charset that its language had before. Built with lettre, stored with bare line feeds as
//! mail servers store it.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::Encoding;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, HeaderName, HeaderValue, Headers,
};
use lettre::message::{Body, Mailbox, Message, SinglePart};
use lettre::{Address, message::MessageBuilder};

use super::content::{self, Content};
use super::languages::{LANGUAGES, Language};
use super::rng::Rng;

/// Whose mailbox a message is for, and which way it went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'a> {
    /// `user@domain`.
    pub(crate) owner: &'a str,
    /// Written by the owner, to somebody else.
    pub(crate) is_sent: bool,
    /// Seconds since 1970.
    pub(crate) time: u64,
}

/// Writes the next message.
pub(crate) fn compose(rng: &mut Rng, route: Route<'_>) -> Result<Vec<u8>> {
    let scribe = Scribe::any(rng);
    let person = rng.pick(scribe.language.people);
    let contact = mailbox(Some(person), &contact_address(rng))?;
    let owner = mailbox(None, route.owner)?;
    let (from, to) = if route.is_sent { (&owner, &contact) } else { (&contact, &owner) };
    let sent_at = SystemTime::UNIX_EPOCH + Duration::from_secs(route.time);
    let id = format!("<{}.{}@{}>", rng.hex(), route.time, from.email.domain());
    let mut builder = Message::builder()
        .from(from.clone())
        .to(to.clone())
        .date(sent_at)
        .message_id(Some(id))
        .raw_header(scribe.subject(rng)?);
    if rng.chance(30) {
        builder = builder.in_reply_to(format!("<{}@example.net>", rng.hex()));
    }
    if !route.is_sent && rng.chance(40) {
        builder = builder.raw_header(signature(rng));
    }
    let message = finish(builder, content::make(rng, &scribe)?)?.formatted();
    let mut bytes = if route.is_sent { Vec::new() } else { trace(rng, route, from) };
    bytes.reserve(message.len());
    bytes.extend(message.into_iter().filter(|byte| *byte != b'\r'));
    Ok(bytes)
}

/// What stands below the head of a message: its subject and its body, in lines that end in CR LF.
pub(crate) fn below_head(rng: &mut Rng, scribe: &Scribe, content: Content) -> Result<Vec<u8>> {
    let mut headers = Headers::new();
    headers.insert_raw(scribe.subject(rng)?);
    let mut bytes = format!("{headers}MIME-Version: 1.0\r\n").into_bytes();
    bytes.extend(match content {
        Content::Multi(part) => part.formatted(),
        Content::Single(part) => part.formatted(),
    });
    Ok(bytes)
}

fn finish(builder: MessageBuilder, content: Content) -> Result<Message> {
    Ok(match content {
        Content::Multi(part) => builder.multipart(part)?,
        Content::Single(part) => builder.singlepart(part)?,
    })
}

/// Writes text of one language in one charset.
pub(crate) struct Scribe {
    pub(crate) language: &'static Language,
    /// `None` is UTF-8.
    charset: Option<&'static str>,
}

impl Scribe {
    /// One of any language, who may have stayed with the charset from before UTF-8.
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let language = &LANGUAGES[rng.index(LANGUAGES.len())];
        let charset = language.charset.filter(|_| rng.chance(50));
        Self { language, charset }
    }

    pub(crate) fn sentence(&self, rng: &mut Rng) -> String {
        let Language { words, space, stop, .. } = self.language;
        let mut text = String::new();
        for word in 0..4 + rng.below(9) {
            if word > 0 {
                text.push_str(space);
            }
            match rng.below(16) {
                0 => text.push_str(&rng.below(100_000).to_string()),
                _ => text.push_str(rng.pick(words)),
            }
        }
        text.push_str(stop);
        text
    }

    /// Lines of text, with an empty one now and then.
    pub(crate) fn text(&self, rng: &mut Rng, sentences: u64) -> String {
        let mut text = String::new();
        for _ in 0..sentences {
            text.push_str(&self.sentence(rng));
            text.push_str(if rng.chance(20) { "\n\n" } else { "\n" });
        }
        text
    }

    /// Text of exactly so many bytes of UTF-8, which may end within a word.
    pub(crate) fn filled(&self, rng: &mut Rng, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 256);
        while text.len() < bytes {
            text.push_str(&self.text(rng, 4));
        }
        text.truncate(text.floor_char_boundary(bytes));
        (text.len()..bytes).for_each(|_| text.push('.'));
        text
    }

    /// A text part: in UTF-8 encoded as lettre sees fit, in an older charset as its bare bytes.
    pub(crate) fn plain(&self, text: String) -> Result<SinglePart> {
        let Some(label) = self.charset else { return Ok(SinglePart::plain(text)) };
        let bytes = encode(label, &text.replace('\n', "\r\n"))?;
        let encoding = match bytes.is_ascii() {
            true => ContentTransferEncoding::SevenBit,
            false => ContentTransferEncoding::EightBit,
        };
        let content_type = ContentType::parse(&format!("text/plain; charset={label}"))?;
        let body = Body::dangerous_pre_encoded(bytes, encoding);
        Ok(SinglePart::builder().content_type(content_type).body(body))
    }

    fn subject(&self, rng: &mut Rng) -> Result<HeaderValue> {
        const SUBJECT: HeaderName = HeaderName::new_from_ascii_str("Subject");
        let mut text = rng.pick(self.language.subjects).to_owned();
        if rng.chance(50) {
            text.push_str(&format!(" [#{}]", rng.below(100_000)));
        }
        let Some(label) = self.charset.filter(|_| !text.is_ascii()) else {
            return Ok(HeaderValue::new(SUBJECT, text));
        };
        // An encoded word is at most 75 bytes long and holds whole characters.
        let letters: Vec<char> = text.chars().collect();
        let mut words = Vec::new();
        for part in letters.chunks(10) {
            let bytes = encode(label, &part.iter().collect::<String>())?;
            words.push(format!("=?{label}?B?{}?=", STANDARD.encode(bytes)));
        }
        Ok(HeaderValue::dangerous_new_pre_encoded(SUBJECT, text, words.join("\r\n ")))
    }
}

fn encode(label: &str, text: &str) -> Result<Vec<u8>> {
    let encoding = Encoding::for_label(label.as_bytes())
        .with_context(|| format!("no charset is called {label}"))?;
    Ok(encoding.encode(text).0.into_owned())
}

/// What the receiving server writes above a message.
fn trace(rng: &mut Rng, route: Route<'_>, from: &Mailbox) -> Vec<u8> {
    let date = jiff::Timestamp::from_second(route.time as i64).unwrap_or_default();
    format!(
        "Return-Path: <{from}>\n\
         Delivered-To: {owner}\n\
         Received: from mx{host}.example.net (mx{host}.example.net [192.0.2.{host}])\n\
         \tby mail.example.org with LMTP id {id}\n\
         \tfor <{owner}>; {date}\n",
        from = from.email,
        owner = route.owner,
        host = 1 + rng.below(250),
        id = rng.hex(),
        date = date.strftime("%a, %d %b %Y %H:%M:%S +0000"),
    )
    .into_bytes()
}

/// What most mail carries today: a signature that looks random.
fn signature(rng: &mut Rng) -> HeaderValue {
    const NAME: HeaderName = HeaderName::new_from_ascii_str("DKIM-Signature");
    let sum = STANDARD.encode(rng.bytes(32));
    let signature = STANDARD.encode(rng.bytes(256));
    let mut value = format!(
        "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1;\r\n \
         h=from:to:subject:date;\r\n bh={sum};\r\n b="
    );
    let lines: Vec<String> =
        signature.as_bytes().chunks(72).map(|line| String::from_utf8_lossy(line).into()).collect();
    value.push_str(&lines.join("\r\n  "));
    HeaderValue::dangerous_new_pre_encoded(NAME, value.clone(), value)
}

fn contact_address(rng: &mut Rng) -> String {
    const USERS: [&str; 6] = ["office", "news", "j.miller", "support", "info", "m.wojcik"];
    const DOMAINS: [&str; 4] = ["example.net", "example.com", "shop.example", "uni.example"];
    format!("{}{}@{}", rng.pick(&USERS), rng.below(40), rng.pick(&DOMAINS))
}

fn mailbox(name: Option<&str>, address: &str) -> Result<Mailbox> {
    let address: Address =
        address.parse().with_context(|| format!("{address} is not an address"))?;
    Ok(Mailbox::new(name.map(str::to_owned), address))
}
