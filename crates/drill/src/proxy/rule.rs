//! Rules as a scenario writes them: at which moment of a session, for whom, how often, and what goes wrong. The words
//! are those of `mailrig serve --rules` where they mean the same; a rule that could never act is refused when it is read.

use std::time::Duration;

use serde::Deserialize;

use super::secure::Flaw;

/// Where in a session a rule acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// When the client has connected, before the server is called; replies: the greeting.
    Connect,
    /// EHLO, HELO, LHLO.
    Ehlo,
    /// STARTTLS. What comes after it cannot be seen, unless a rule presents a certificate.
    StartTls,
    /// AUTH; not what follows a challenge.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, and chunks of BDAT before the last.
    Data,
    /// The first byte of a message's body.
    Body,
    /// The final dot, or the last chunk of BDAT.
    End,
    /// QUIT.
    Quit,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The connection is reset as soon as it is there.
    Refuse,
    /// From here on bytes take so long, each way.
    Latency(Duration),
    /// From here on so many bytes pass a second, each way; at least 1.
    Bandwidth(u32),
    /// Both sides are closed before the command reaches the server.
    Cut,
    /// The server has the command; both sides are closed before its reply reaches the client.
    CutAfter,
    /// Half of the command, of the chunk or of the terminator reaches the server; then both sides are closed.
    CutInTheMiddle,
    /// The server has the command; its reply comes so much later.
    Hold(Duration),
    /// The server has the command; its reply never comes.
    HoldForEver,
    /// Said in place of what the server would say; the command does not reach it. One line without its end.
    Reply(String),
    /// The reply goes without this capability.
    StripStartTls,
    /// The proxy takes TLS in the server's place, with this certificate. What a client says inside all the same goes to
    /// the server in the clear, and rules act on it; a server that wants TLS before AUTH or MAIL refuses them.
    PresentCertificate(Flaw),
    /// As [`Act::Cut`], by RST on both sides.
    Reset,
}

/// What goes wrong when.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "RuleLine")]
pub struct Rule {
    /// Where in a session.
    pub at: At,
    /// Only in the nth transaction since the rules were set, from 1; at connect, ehlo, starttls and auth the nth session.
    pub nth: Option<u64>,
    /// Only in each nth of them.
    pub every: Option<u64>,
    /// So often and no more.
    pub times: Option<u64>,
    /// By chance, 0 to 1.
    pub probability: Option<f64>,
    /// What the chance follows from.
    pub seed: u64,
    /// What goes wrong.
    pub act: Act,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct RuleLine {
    at: At,
    nth: Option<u64>,
    every: Option<u64>,
    times: Option<u64>,
    probability: Option<f64>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    refuse: bool,
    latency_ms: Option<u64>,
    bandwidth_bytes_per_s: Option<u32>,
    #[serde(default, alias = "drop")]
    cut: bool,
    #[serde(default, alias = "lose_reply")]
    cut_after: bool,
    #[serde(default)]
    cut_in_the_middle: bool,
    #[serde(alias = "stall_ms")]
    hold_ms: Option<u64>,
    #[serde(default)]
    hold_for_ever: bool,
    reply: Option<String>,
    #[serde(default)]
    strip_starttls: bool,
    present_certificate: Option<Flaw>,
    #[serde(default)]
    reset: bool,
}

#[cfg(test)]
impl schemars::JsonSchema for Rule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        RuleLine::json_schema(generator)
    }
}

/// A probability that was checked is a number.
impl Eq for Rule {}

impl Rule {
    /// One that always acts.
    pub fn new(at: At, act: Act) -> Self {
        Self { at, nth: None, every: None, times: None, probability: None, seed: 0, act }
    }

    /// Whether it could act at all, and say only what may be said; else why not.
    pub fn check(&self) -> Result<(), String> {
        if self.nth == Some(0) || self.every == Some(0) {
            return Err("nth and every begin at 1".into());
        }
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return Err("probability is 0 to 1".into());
        }
        let has_reply = self.at != At::Body;
        let (is_good, where_it_goes) = match &self.act {
            Act::Refuse => (self.at == At::Connect, "refuse goes with connect"),
            Act::StripStartTls => (self.at == At::Ehlo, "strip_starttls goes with ehlo"),
            Act::PresentCertificate(_) => {
                (self.at == At::StartTls, "present_certificate goes with starttls")
            }
            Act::CutInTheMiddle => {
                (self.at != At::Connect, "at connect nothing is there to be cut in the middle")
            }
            Act::CutAfter | Act::Hold(_) | Act::HoldForEver | Act::Reply(_) => {
                (has_reply, "the body has no reply of its own: say end")
            }
            Act::Latency(latency) => (*latency <= LATENCY_MAX, "latency_ms is an hour at most"),
            Act::Bandwidth(bytes_per_s) => (*bytes_per_s > 0, "bandwidth_bytes_per_s begins at 1"),
            Act::Cut | Act::Reset => (true, ""),
        };
        if !is_good {
            return Err(where_it_goes.into());
        }
        if let Act::Reply(text) = &self.act {
            check_reply(text)?;
        }
        Ok(())
    }
}

/// One of 3yz would make a client send what nobody waits for.
fn check_reply(text: &str) -> Result<(), String> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_code = code.len() == 3
        && code.starts_with(['2', '4', '5'])
        && code.bytes().all(|byte| byte.is_ascii_digit());
    if !is_code || rest.chars().any(char::is_control) || text.len() > REPLY_BYTES {
        return Err(format!(
            "reply = `{text}` is no reply: it is a code that begins with 2, 4 or 5, and a text"
        ));
    }
    Ok(())
}

impl TryFrom<RuleLine> for Rule {
    type Error = String;

    fn try_from(line: RuleLine) -> Result<Self, String> {
        let ms = Duration::from_millis;
        let acts = [
            line.refuse.then_some(Act::Refuse),
            line.latency_ms.map(|latency| Act::Latency(ms(latency))),
            line.bandwidth_bytes_per_s.map(Act::Bandwidth),
            line.cut.then_some(Act::Cut),
            line.cut_after.then_some(Act::CutAfter),
            line.cut_in_the_middle.then_some(Act::CutInTheMiddle),
            line.hold_ms.map(|hold| Act::Hold(ms(hold))),
            line.hold_for_ever.then_some(Act::HoldForEver),
            line.reply.map(Act::Reply),
            line.strip_starttls.then_some(Act::StripStartTls),
            line.present_certificate.map(Act::PresentCertificate),
            line.reset.then_some(Act::Reset),
        ];
        let mut acts = acts.into_iter().flatten();
        let (Some(act), None) = (acts.next(), acts.next()) else {
            return Err(format!("a rule takes one of {ACTS}"));
        };
        let RuleLine { at, nth, every, times, probability, seed, .. } = line;
        let rule = Self { at, nth, every, times, probability, seed, act };
        rule.check()?;
        Ok(rule)
    }
}

const ACTS: &str = "refuse, latency_ms, bandwidth_bytes_per_s, cut, cut_after, cut_in_the_middle, hold_ms, \
    hold_for_ever, reply, strip_starttls, present_certificate, reset";

/// RFC 5321, 4.5.3.1.5.
const REPLY_BYTES: usize = 512;

/// Longer is a hold.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        rule: Vec<Rule>,
    }

    fn read(text: &str) -> Result<Rule, String> {
        let file = toml::from_str::<File>(&format!("[[rule]]\n{text}\n"));
        file.map(|mut file| file.rule.remove(0)).map_err(|e| e.to_string())
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        let ms = Duration::from_millis;
        for (text, at, act) in [
            ("at = 'connect'\nrefuse = true", At::Connect, Act::Refuse),
            ("at = 'connect'\nlatency_ms = 20", At::Connect, Act::Latency(ms(20))),
            ("at = 'body'\nbandwidth_bytes_per_s = 9", At::Body, Act::Bandwidth(9)),
            ("at = 'mail'\ncut = true", At::Mail, Act::Cut),
            ("at = 'mail'\ndrop = true", At::Mail, Act::Cut),
            ("at = 'end'\ncut_after = true", At::End, Act::CutAfter),
            ("at = 'end'\nlose_reply = true", At::End, Act::CutAfter),
            ("at = 'data'\ncut_in_the_middle = true", At::Data, Act::CutInTheMiddle),
            ("at = 'quit'\nhold_ms = 5", At::Quit, Act::Hold(ms(5))),
            ("at = 'starttls'\nhold_for_ever = true", At::StartTls, Act::HoldForEver),
            ("at = 'end'\nreply = '451 4.3.0 x'", At::End, Act::Reply("451 4.3.0 x".into())),
            ("at = 'ehlo'\nstrip_starttls = true", At::Ehlo, Act::StripStartTls),
            (
                "at = 'starttls'\npresent_certificate = 'not_yet_valid'",
                At::StartTls,
                Act::PresentCertificate(Flaw::NotYetValid),
            ),
            ("at = 'auth'\nreset = true", At::Auth, Act::Reset),
        ] {
            assert_eq!(read(text), Ok(Rule::new(at, act)), "{text}");
        }
        let text =
            "at = 'rcpt'\nnth = 2\nevery = 3\ntimes = 4\nprobability = 0.5\nseed = 6\ncut = true";
        let (nth, every, times) = (Some(2), Some(3), Some(4));
        let (probability, seed) = (Some(0.5), 6);
        let usual = Rule::new(At::Rcpt, Act::Cut);
        assert_eq!(read(text), Ok(Rule { nth, every, times, probability, seed, ..usual }));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for (text, part) in [
            ("at = 'never'\ncut = true", "never"),
            ("at = 'mail'", "takes one of"),
            ("at = 'mail'\ncut = false", "takes one of"),
            ("at = 'mail'\ncut = true\nreset = true", "takes one of"),
            ("at = 'mail'\ncut = true\ncolour = 1", "colour"),
            ("at = 'mail'\nnth = 0\ncut = true", "begin at 1"),
            ("at = 'mail'\nevery = 0\ncut = true", "begin at 1"),
            ("at = 'mail'\nprobability = 1.5\ncut = true", "0 to 1"),
            ("at = 'mail'\nprobability = nan\ncut = true", "0 to 1"),
            ("at = 'mail'\nrefuse = true", "goes with connect"),
            ("at = 'mail'\nstrip_starttls = true", "goes with ehlo"),
            ("at = 'ehlo'\npresent_certificate = 'expired'", "goes with starttls"),
            ("at = 'starttls'\npresent_certificate = 'good'", "good"),
            ("at = 'connect'\ncut_in_the_middle = true", "at connect"),
            ("at = 'body'\ncut_after = true", "say end"),
            ("at = 'body'\nhold_ms = 1", "say end"),
            ("at = 'body'\nreply = '451 x'", "say end"),
            ("at = 'mail'\nbandwidth_bytes_per_s = 0", "begins at 1"),
            ("at = 'mail'\nlatency_ms = 4000000", "an hour"),
            ("at = 'data'\nreply = '354 go'", "is no reply"),
            ("at = 'mail'\nreply = '99 x'", "is no reply"),
            ("at = 'mail'\nreply = \"450 a\\r\\nb\"", "is no reply"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
