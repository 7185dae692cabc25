//! Faults by rule: what goes wrong, at which phase, for whom, how often. The first rule that matches acts. With
//! the same seed and the same order of events the same things go wrong.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use wildmatch::WildMatch;

use super::dialogue::Answer;

/// Where in a session a rule can act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// Before the greeting.
    Connect,
    /// EHLO, HELO, LHLO.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, and chunks of BDAT before the last.
    Data,
    /// The end of a message.
    End,
    /// QUIT.
    Quit,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// This is said in place of what would be. A refusal changes nothing in the session.
    Reply(Answer),
    /// Nothing is done or said for a while.
    Delay(Duration),
    /// The connection is closed without a word.
    Drop,
    /// Nothing is said any more.
    Hang,
    /// What was asked for is done, and the reply comes late.
    Stall(Duration),
    /// What was asked for is done, and the connection closed without a word.
    LoseReply,
    /// What was asked for is done, and answered with what is no reply.
    Garbage,
    /// What was asked for is done, and the reply ends in the middle.
    HalfLine,
    /// What was asked for is done, and this is said, which is not so.
    Lie(Answer),
    /// The message is answered as if it were kept, and kept so much later; who dies meanwhile has lost it.
    Ahead(Duration),
    /// From here on so many bytes are read a second.
    ReadSlowly(u32),
    /// Who comes for the first time is told to come again after a while.
    Greylist(Duration),
}

impl At {
    /// As in a rule.
    pub(super) fn name(self) -> &'static str {
        match self {
            At::Connect => "connect",
            At::Ehlo => "ehlo",
            At::StartTls => "starttls",
            At::Auth => "auth",
            At::Mail => "mail",
            At::Rcpt => "rcpt",
            At::Data => "data",
            At::End => "end",
            At::Quit => "quit",
        }
    }

    /// A rule that asks for what is not known yet would never act, and nobody would see why.
    fn knows(self, rule: &RuleLine) -> Result<(), String> {
        let is_early = matches!(self, At::Connect | At::Ehlo | At::StartTls | At::Auth);
        if is_early && (rule.sender.is_some() || rule.nth.is_some() || rule.every.is_some()) {
            return Err("sender, nth and every go with mail, rcpt, data, end and quit".into());
        }
        if rule.recipient.is_some() && !matches!(self, At::Rcpt | At::Data | At::End) {
            return Err("recipient goes with rcpt, data and end".into());
        }
        Ok(())
    }
}

impl Act {
    /// As in a rule, without its unit. What greylisting says is a reply.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Act::Reply(_) => "reply",
            Act::Delay(_) => "delay",
            Act::Drop => "drop",
            Act::Hang => "hang",
            Act::Stall(_) => "stall",
            Act::LoseReply => "lose_reply",
            Act::Garbage => "garbage",
            Act::HalfLine => "half_line",
            Act::Lie(_) => "lie",
            Act::Ahead(_) => "ahead",
            Act::ReadSlowly(_) => "read_slowly",
            Act::Greylist(_) => "greylist",
        }
    }

    /// Whether the client hears what is not so, or not all of it.
    pub(super) fn is_untrue(&self) -> bool {
        matches!(self, Act::LoseReply | Act::Garbage | Act::HalfLine | Act::Lie(_) | Act::Ahead(_))
    }
}

/// Rules that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRules {
    /// No TOML, or not of this form.
    #[error("{0}")]
    Toml(String),
    /// A rule that says too little or too much.
    #[error("rule {0}: {1}")]
    Rule(usize, String),
}

/// What is going on when a rule is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'m> {
    /// Where in the session.
    pub at: At,
    /// The client.
    pub peer: Option<IpAddr>,
    /// The reverse path, once it is known; empty for the null path.
    pub sender: Option<&'m str>,
    /// The recipient of this RCPT; at DATA and the end of a message all.
    pub recipients: &'m [&'m str],
    /// Which transaction of the server's life this is, from 1.
    pub transaction: u64,
}

/// Rules and what they remember.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    /// Whether there are any: most servers have none, and are asked at each command.
    has_some: AtomicBool,
}

#[derive(Debug)]
struct Rule {
    at: At,
    sender: Option<WildMatch>,
    recipient: Option<WildMatch>,
    nth: Option<u64>,
    every: Option<u64>,
    probability: Option<f64>,
    times: Option<u64>,
    act: Act,
    random: u64,
    acted: u64,
    /// Who was told to come again, and when.
    seen: HashMap<(Option<IpAddr>, String, String), Instant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "rule")]
    rules: Vec<RuleLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleLine {
    at: At,
    sender: Option<String>,
    recipient: Option<String>,
    nth: Option<u64>,
    every: Option<u64>,
    probability: Option<f64>,
    #[serde(default)]
    seed: u64,
    times: Option<u64>,
    reply: Option<String>,
    delay_ms: Option<u64>,
    #[serde(default)]
    drop: bool,
    #[serde(default)]
    hang: bool,
    stall_ms: Option<u64>,
    #[serde(default)]
    lose_reply: bool,
    #[serde(default)]
    garbage: bool,
    #[serde(default)]
    half_line: bool,
    lie: Option<String>,
    ahead_ms: Option<u64>,
    read_bytes_per_s: Option<u32>,
    greylist_ms: Option<u64>,
}

impl Faults {
    /// Replaces all rules by those of a TOML text; what the old ones remembered is gone.
    pub fn load(&self, text: &str) -> Result<usize, BadRules> {
        let file: File = toml::from_str(text).map_err(|e| BadRules::Toml(e.to_string()))?;
        let rules = file
            .rules
            .into_iter()
            .enumerate()
            .map(|(at, line)| line.rule().map_err(|reason| BadRules::Rule(at + 1, reason)));
        let rules: Vec<Rule> = rules.collect::<Result<_, _>>()?;
        let count = rules.len();
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_some.store(count > 0, Ordering::Release);
        *known = rules;
        Ok(count)
    }

    /// What goes wrong now, if anything.
    pub fn due(&self, moment: &Moment<'_>) -> Option<Act> {
        if !self.has_some.load(Ordering::Acquire) {
            return None;
        }
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter_mut().find_map(|rule| rule.due(moment))
    }
}

impl RuleLine {
    fn rule(self) -> Result<Rule, String> {
        let mut acts = Vec::new();
        if let Some(reply) = &self.reply {
            acts.push(Act::Reply(answer(reply)?));
        }
        let ms = Duration::from_millis;
        acts.extend(self.delay_ms.map(|delay| Act::Delay(ms(delay))));
        acts.extend(self.drop.then_some(Act::Drop));
        acts.extend(self.hang.then_some(Act::Hang));
        acts.extend(self.stall_ms.map(|stall| Act::Stall(ms(stall))));
        acts.extend(self.lose_reply.then_some(Act::LoseReply));
        acts.extend(self.garbage.then_some(Act::Garbage));
        acts.extend(self.half_line.then_some(Act::HalfLine));
        if let Some(lie) = &self.lie {
            acts.push(Act::Lie(answer(lie)?));
        }
        acts.extend(self.ahead_ms.map(|ahead| Act::Ahead(ms(ahead))));
        acts.extend(self.read_bytes_per_s.map(|bytes| Act::ReadSlowly(bytes.max(1))));
        acts.extend(self.greylist_ms.map(|wait| Act::Greylist(ms(wait))));
        let Ok([act]) = <[Act; 1]>::try_from(acts) else {
            return Err(
                "it takes one of reply, delay_ms, drop, hang, stall_ms, lose_reply, garbage, \
                        half_line, lie, ahead_ms, read_bytes_per_s, greylist_ms"
                    .into(),
            );
        };
        if matches!(act, Act::Ahead(_)) && self.at != At::End {
            return Err("ahead_ms goes with at = \"end\"".into());
        }
        if matches!(act, Act::Greylist(_)) && self.at != At::Rcpt {
            return Err("greylist_ms goes with at = \"rcpt\"".into());
        }
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return Err("probability is 0 to 1".into());
        }
        if self.nth == Some(0) || self.every == Some(0) {
            return Err("nth and every begin at 1".into());
        }
        self.at.knows(&self)?;
        Ok(Rule {
            at: self.at,
            sender: self.sender.as_deref().map(WildMatch::new_case_insensitive),
            recipient: self.recipient.as_deref().map(WildMatch::new_case_insensitive),
            nth: self.nth,
            every: self.every,
            probability: self.probability,
            times: self.times,
            act,
            // Never zero, at which the generator stands still.
            random: self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            acted: 0,
            seen: HashMap::new(),
        })
    }
}

/// `451 4.7.1 later`.
fn answer(text: &str) -> Result<Answer, String> {
    let bad = || format!("reply = `{text}` is no reply: it is a code from 200 to 599 and a text");
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    let code = code.parse().ok().filter(|code| is_code && (200..600).contains(code));
    if rest.chars().any(char::is_control) {
        return Err(bad());
    }
    Ok(Answer::new(code.ok_or_else(bad)?, rest))
}

impl Rule {
    fn due(&mut self, moment: &Moment<'_>) -> Option<Act> {
        let is_of = |pattern: &Option<WildMatch>, texts: &[&str]| {
            pattern.as_ref().is_none_or(|pattern| texts.iter().any(|text| pattern.matches(text)))
        };
        // Zero before the first MAIL of a session.
        let number = moment.transaction;
        let is_it = self.at == moment.at
            && self.times.is_none_or(|times| self.acted < times)
            && self.nth.is_none_or(|nth| nth == number)
            && self.every.is_none_or(|every| number > 0 && number.is_multiple_of(every))
            && is_of(&self.sender, moment.sender.as_slice())
            && is_of(&self.recipient, moment.recipients);
        if !is_it || self.probability.is_some_and(|probability| self.roll() >= probability) {
            return None;
        }
        let act = match self.act {
            Act::Greylist(wait) => self.greylist(wait, moment)?,
            ref act => act.clone(),
        };
        self.acted += 1;
        Some(act)
    }

    fn greylist(&mut self, wait: Duration, moment: &Moment<'_>) -> Option<Act> {
        let (sender, recipient) = (moment.sender?, *moment.recipients.first()?);
        let now = Instant::now();
        if self.seen.len() >= GREYLISTED_MAX {
            self.seen.clear();
        }
        let key = (moment.peer, sender.to_ascii_lowercase(), recipient.to_ascii_lowercase());
        let first = *self.seen.entry(key).or_insert(now);
        let left = wait.checked_sub(now.duration_since(first)).filter(|left| !left.is_zero())?;
        let text = format!("4.7.1 greylisted, come again in {} s", left.as_secs() + 1);
        Some(Act::Reply(Answer::new(451, text)))
    }

    /// 0 to 1, by xorshift64*.
    fn roll(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Who is forgotten is told to come again once more.
const GREYLISTED_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn moment<'m>(at: At, transaction: u64, recipients: &'m [&'m str]) -> Moment<'m> {
        Moment { at, peer: None, sender: Some("a@b.c"), recipients, transaction }
    }

    fn faults(text: &str) -> Faults {
        let faults = Faults::default();
        faults.load(text).unwrap();
        faults
    }

    #[test]
    fn the_first_rule_that_matches_acts() {
        let faults = faults(
            "[[rule]]\nat = 'rcpt'\nrecipient = '*@full.*'\nreply = '452 4.2.2 full'\n\
             [[rule]]\nat = 'rcpt'\nsender = 'x@*'\ndrop = true\n\
             [[rule]]\nat = 'end'\nnth = 3\nlose_reply = true\n\
             [[rule]]\nat = 'end'\nevery = 5\ntimes = 1\nstall_ms = 20\n",
        );
        let full = Act::Reply(Answer::new(452, "4.2.2 full"));
        assert_eq!(faults.due(&moment(At::Rcpt, 1, &["U@Full.example"])), Some(full));
        assert_eq!(faults.due(&moment(At::Rcpt, 1, &["u@other.example"])), None);
        assert_eq!(faults.due(&moment(At::Mail, 1, &[])), None);
        let ends: Vec<_> =
            (1..=10).filter(|n| faults.due(&moment(At::End, *n, &["u@x.y"])).is_some()).collect();
        assert_eq!(ends, [3, 5]);
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let run = |seed: u64| {
            let text =
                format!("[[rule]]\nat = 'end'\nprobability = 0.3\nseed = {seed}\ndrop = true\n");
            let faults = faults(&text);
            (0..1000).filter(|n| faults.due(&moment(At::End, *n, &[])).is_some()).collect()
        };
        let (one, again, other): (Vec<u64>, Vec<u64>, Vec<u64>) = (run(1), run(1), run(2));
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert!((200..400).contains(&one.len()), "{}", one.len());
    }

    #[test]
    fn who_comes_again_after_the_wait_is_let_in() {
        let faults = faults("[[rule]]\nat = 'rcpt'\ngreylist_ms = 30\n");
        let again = || faults.due(&moment(At::Rcpt, 1, &["u@x.y"]));
        assert!(matches!(again(), Some(Act::Reply(answer)) if answer.code == 451));
        let start = Instant::now();
        while again().is_some() {
            assert!(start.elapsed() < Duration::from_secs(10), "it never ends");
        }
        assert!(matches!(faults.due(&moment(At::Rcpt, 1, &["v@x.y"])), Some(Act::Reply(_))));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_by_number() {
        for (text, part) in [
            ("[[rule]]\nat = 'never'\ndrop = true", "never"),
            ("[[rule]]\nat = 'mail'\n", "rule 1: it takes one of"),
            ("[[rule]]\nat = 'mail'\ndrop = true\nhang = true\n", "rule 1: it takes one of"),
            ("[[rule]]\nat = 'mail'\nreply = '99 x'\n", "rule 1: reply = `99 x` is no reply"),
            ("[[rule]]\nat = 'mail'\nreply = \"450 a\\nb\"\n", "is no reply"),
            ("[[rule]]\nat = 'mail'\ngreylist_ms = 1\n", "goes with at"),
            ("[[rule]]\nat = 'mail'\nahead_ms = 1\n", "goes with at"),
            ("[[rule]]\nat = 'end'\nlie = 'yes'\n", "`yes` is no reply"),
            ("[[rule]]\nat = 'mail'\nprobability = 2.0\ndrop = true\n", "probability is 0 to 1"),
            ("[[rule]]\nat = 'mail'\nnth = 0\ndrop = true\n", "begin at 1"),
            ("[[rule]]\nat = 'mail'\ncolour = 1\n", "colour"),
            ("[[rule]]\nat = 'connect'\nevery = 2\ndrop = true\n", "sender, nth and every go"),
            ("[[rule]]\nat = 'auth'\nsender = 'a@*'\ndrop = true\n", "sender, nth and every go"),
            ("[[rule]]\nat = 'mail'\nrecipient = 'a@*'\ndrop = true\n", "recipient goes with"),
            ("rule = 1", "rule"),
        ] {
            let error = Faults::default().load(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
