//! What a session is in the middle of, and what may come next (RFC 5321, 4.1.4). Pure: it answers commands and
//! does nothing. Whether a recipient exists, and whether a fault is due, has been decided before.

use super::command::{Command, Hello, MailParameters};
use crate::address::Address;

/// What a listener offers and demands.
#[derive(Debug, Clone)]
pub struct Policy {
    /// LHLO and a reply for each recipient, or EHLO and HELO.
    pub is_lmtp: bool,
    /// The server's name in its greeting.
    pub host: String,
    /// The largest message in bytes.
    pub size_bytes_max: u64,
    /// The most recipients of one message.
    pub recipients_max: usize,
    /// Whether STARTTLS is offered.
    pub has_starttls: bool,
    /// Mechanisms that are offered, by name; none: no AUTH.
    pub mechanisms: Vec<String>,
    /// Whether AUTH is offered without TLS.
    pub is_plain_auth_allowed: bool,
    /// Whether mail is taken only from those who authenticated (submission, RFC 6409).
    pub is_auth_needed: bool,
}

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Reply code.
    pub code: u16,
    /// The text, with the enhanced code; lines have `\n` between them.
    pub text: String,
}

impl Answer {
    /// A reply of one line.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// 2yz or 3yz.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// In one line.
    pub fn line(&self) -> String {
        format!("{} {}", self.code, self.text.replace('\n', " "))
    }

    /// Appends it as it is sent.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{separator}{line}\r\n", self.code).as_bytes());
        }
    }
}

/// A message that is being sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Reverse path; `None` is the null path.
    pub from: Option<Address>,
    /// What MAIL said.
    pub parameters: MailParameters,
    /// Who takes it.
    pub recipients: Vec<Address>,
    /// Whether a chunk of BDAT has come.
    pub is_chunked: bool,
}

impl Transaction {
    /// Who takes it, as they stand in RCPT.
    pub(super) fn to(&self) -> Vec<&str> {
        self.recipients.iter().map(Address::as_str).collect()
    }

    /// Of a bounce.
    pub(super) fn bounce(to: &Address) -> Self {
        // What it quotes may be anything.
        let parameters = MailParameters { size_bytes: None, is_utf8: to.is_utf8() };
        Self { from: None, parameters, recipients: vec![to.clone()], is_chunked: false }
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Say this, and go on.
    Say(Answer),
    /// Say this, and read a body.
    ReadBody(Answer),
    /// Read a chunk of so many bytes; whether it is the last, and whether it belongs to a message. One that
    /// belongs to none is read and refused, or its bytes would be taken for commands.
    ReadChunk(u64, bool, Result<(), Answer>),
    /// Say this, and begin a handshake; what the client has sent already is void.
    StartTls(Answer),
    /// Go through a mechanism.
    Authenticate(String, Option<String>),
    /// Say this, and close.
    Close(Answer),
}

/// A session's state.
#[derive(Debug, Default)]
pub struct Dialogue {
    /// How the client said hello, and what it calls itself.
    pub hello: Option<(Hello, String)>,
    /// Whether there is TLS.
    pub is_secured: bool,
    /// Who authenticated.
    pub user: Option<String>,
    /// The message that is being sent.
    pub transaction: Option<Transaction>,
    errors: u32,
    /// Recipients of this message that are to come again.
    put_off: u32,
}

impl Dialogue {
    /// Answers a command.
    pub fn command(&mut self, command: Command, policy: &Policy) -> Step {
        let step = self.answer(command, policy);
        match &step {
            Step::Say(answer) if answer.code >= 500 => self.error(answer.clone()),
            _ => step,
        }
    }

    /// Answers what was no command, or counts a refusal. After too many without a message the session ends.
    pub fn error(&mut self, answer: Answer) -> Step {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            return Step::Close(Answer::new(421, "4.7.0 too many errors"));
        }
        Step::Say(answer)
    }

    /// Answers a RCPT that is to come again. Long lists are sent in parts, so many are no error; who never ends
    /// is broken.
    pub fn put_off(&mut self, answer: Answer) -> Step {
        self.put_off += 1;
        if self.put_off > PUT_OFF_MAX { self.error(answer) } else { Step::Say(answer) }
    }

    /// A message was taken: whoever sends mail is not up to something.
    pub fn forgive(&mut self) {
        self.errors = 0;
    }

    fn answer(&mut self, command: Command, policy: &Policy) -> Step {
        let say = |code, text: &str| Step::Say(Answer::new(code, text));
        match command {
            Command::Hello(hello, name) => self.say_hello(hello, name, policy),
            Command::Rset => {
                self.transaction = None;
                say(250, "2.0.0 ok")
            }
            Command::Noop => say(250, "2.0.0 ok"),
            Command::Help => say(214, "2.0.0 RFC 5321"),
            Command::Vrfy => say(252, "2.0.0 send mail, and see"),
            Command::Quit => Step::Close(Answer::new(221, "2.0.0 bye")),
            Command::StartTls if !policy.has_starttls => say(502, "5.5.1 STARTTLS is not offered"),
            Command::StartTls if self.is_secured => say(503, "5.5.1 there is TLS already"),
            Command::Bdat(size, is_last) => self.chunk(size, is_last),
            _ if self.hello.is_none() => say(503, "5.5.1 say hello first"),
            Command::StartTls => {
                // Whatever was said in plain text is forgotten (RFC 3207, 4.2).
                *self = Self { errors: self.errors, ..Self::default() };
                Step::StartTls(Answer::new(220, "2.0.0 go ahead"))
            }
            Command::Auth(mechanism, initial) => self.auth(mechanism, initial, policy),
            Command::Mail(from, parameters) => self.mail(from, parameters, policy),
            Command::Rcpt(to) => self.rcpt(to, policy),
            Command::Data => self.data(),
        }
    }

    fn say_hello(&mut self, hello: Hello, name: String, policy: &Policy) -> Step {
        if (hello == Hello::Lhlo) != policy.is_lmtp {
            let other = if policy.is_lmtp { "LHLO" } else { "EHLO" };
            return Step::Say(Answer::new(500, format!("5.5.1 say {other} here")));
        }
        self.hello = Some((hello, name));
        self.transaction = None;
        let mut text = policy.host.clone();
        if hello != Hello::Helo {
            let size = policy.size_bytes_max;
            text.push_str(&format!("\nPIPELINING\nSIZE {size}\n8BITMIME\nSMTPUTF8\nCHUNKING"));
            text.push_str("\nENHANCEDSTATUSCODES");
            if policy.has_starttls && !self.is_secured {
                text.push_str("\nSTARTTLS");
            }
            if self.is_auth_offered(policy) {
                text.push_str(&format!("\nAUTH {}", policy.mechanisms.join(" ")));
            }
        }
        Step::Say(Answer::new(250, text))
    }

    fn is_auth_offered(&self, policy: &Policy) -> bool {
        !policy.mechanisms.is_empty() && (self.is_secured || policy.is_plain_auth_allowed)
    }

    fn auth(&mut self, mechanism: String, initial: Option<String>, policy: &Policy) -> Step {
        let say = |code, text: &str| Step::Say(Answer::new(code, text));
        if policy.mechanisms.is_empty() {
            say(502, "5.5.1 AUTH is not offered")
        } else if !self.is_auth_offered(policy) {
            say(538, "5.7.11 first STARTTLS, then AUTH")
        } else if self.user.is_some() || self.transaction.is_some() {
            say(503, "5.5.1 AUTH once, and before MAIL")
        } else if !policy.mechanisms.contains(&mechanism) {
            say(504, "5.5.4 mechanism not offered")
        } else {
            Step::Authenticate(mechanism, initial)
        }
    }

    fn mail(&mut self, from: Option<Address>, parameters: MailParameters, policy: &Policy) -> Step {
        let say = |code, text: &str| Step::Say(Answer::new(code, text));
        let is_too_large = parameters.size_bytes.is_some_and(|size| size > policy.size_bytes_max);
        if self.transaction.is_some() {
            say(503, "5.5.1 one message at a time")
        } else if policy.is_auth_needed && self.user.is_none() {
            say(530, "5.7.0 authentication required")
        } else if is_too_large {
            say(552, "5.3.4 message too large")
        } else if from.as_ref().is_some_and(Address::is_utf8) && !parameters.is_utf8 {
            say(553, "5.6.7 a sender that is not ASCII needs SMTPUTF8")
        } else {
            let (recipients, is_chunked) = (Vec::new(), false);
            self.transaction = Some(Transaction { from, parameters, recipients, is_chunked });
            self.put_off = 0;
            say(250, "2.1.0 ok")
        }
    }

    fn rcpt(&mut self, to: Address, policy: &Policy) -> Step {
        let say = |code, text: &str| Step::Say(Answer::new(code, text));
        let Some(transaction) = &mut self.transaction else { return say(503, "5.5.1 first MAIL") };
        if transaction.is_chunked {
            say(503, "5.5.1 the message has begun")
        } else if transaction.recipients.len() >= policy.recipients_max {
            say(452, "4.5.3 too many recipients")
        } else if to.is_utf8() && !transaction.parameters.is_utf8 {
            say(553, "5.6.7 a recipient that is not ASCII needs SMTPUTF8")
        } else {
            transaction.recipients.push(to);
            say(250, "2.1.5 ok")
        }
    }

    fn data(&mut self) -> Step {
        let say = |code, text: &str| Step::Say(Answer::new(code, text));
        match &self.transaction {
            None => say(503, "5.5.1 first MAIL"),
            Some(transaction) if transaction.is_chunked => say(503, "5.5.1 go on with BDAT"),
            Some(transaction) if transaction.recipients.is_empty() => {
                say(554, "5.5.1 no valid recipients")
            }
            Some(_) => Step::ReadBody(Answer::new(354, "end with a dot alone in a line")),
        }
    }

    fn chunk(&mut self, size: u64, is_last: bool) -> Step {
        let refused = match &mut self.transaction {
            None => Err(Answer::new(503, "5.5.1 first MAIL")),
            Some(transaction) if transaction.recipients.is_empty() => {
                Err(Answer::new(554, "5.5.1 no valid recipients"))
            }
            Some(transaction) => {
                transaction.is_chunked = true;
                Ok(())
            }
        };
        Step::ReadChunk(size, is_last, refused)
    }
}

/// After so many the peer is broken, or up to something.
const ERRORS_MAX: u32 = 20;

/// Of one message; what follows are errors.
const PUT_OFF_MAX: u32 = 1000;
