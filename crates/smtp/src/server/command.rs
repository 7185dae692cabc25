//! Commands (RFC 5321, 4.1.1, and the extensions that the server offers), one line each. Its own parser:
//! that of `smtp-proto` takes quotes off local parts, a bare CR out of a path, and `postmaster`
//! for the null path, and a server that is there to test others must see what was sent.

use crate::address::{Address, BadAddress};

/// A command and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// EHLO, HELO or LHLO, with the client's name for itself.
    Hello(Hello, String),
    /// MAIL; `None` is the null path of bounces.
    Mail(Option<Address>, MailParameters),
    /// RCPT.
    Rcpt(Address),
    /// DATA.
    Data,
    /// BDAT: the chunk's size in bytes, and whether it is the last.
    Bdat(u64, bool),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// STARTTLS.
    StartTls,
    /// AUTH: the mechanism in upper case, and what the client says along with it.
    Auth(String, Option<String>),
}

/// How a client says hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// SMTP with extensions.
    Ehlo,
    /// SMTP without.
    Helo,
    /// LMTP.
    Lhlo,
}

/// What MAIL says of the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE, in bytes (RFC 1870).
    pub size_bytes: Option<u64>,
    /// SMTPUTF8 (RFC 6531).
    pub is_utf8: bool,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// 500.
    #[error("command not recognised")]
    Unknown,
    /// 501.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// 555: a parameter that was not offered.
    #[error("parameter not recognised")]
    Parameter,
    /// 501, of MAIL.
    #[error("bad sender address: {0}")]
    Sender(BadAddress),
    /// 501, of RCPT.
    #[error("bad recipient address: {0}")]
    Recipient(BadAddress),
}

const MAIL: BadCommand = BadCommand::Syntax("MAIL FROM:<address> [parameters]");
const RCPT: BadCommand = BadCommand::Syntax("RCPT TO:<address> [parameters]");

/// Parses a line without its end.
pub fn parse(line: &[u8]) -> Result<Command, BadCommand> {
    let text = std::str::from_utf8(line).map_err(|_| BadCommand::Unknown)?;
    if text.contains(|c: char| c.is_ascii_control()) {
        return Err(BadCommand::Unknown);
    }
    let text = text.trim_end_matches(' ');
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim_start_matches(' ');
    let alone = |command| match rest {
        "" => Ok(command),
        _ => Err(BadCommand::Syntax("no argument is allowed here")),
    };
    match verb.to_ascii_uppercase().as_str() {
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" => alone(Command::Data),
        "RSET" => alone(Command::Rset),
        "QUIT" => alone(Command::Quit),
        "STARTTLS" => alone(Command::StartTls),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" if !rest.is_empty() => Ok(Command::Vrfy),
        "VRFY" => Err(BadCommand::Syntax("VRFY address")),
        "EHLO" => hello(Hello::Ehlo, rest),
        "HELO" => hello(Hello::Helo, rest),
        "LHLO" => hello(Hello::Lhlo, rest),
        "BDAT" => bdat(rest),
        "AUTH" => auth(rest),
        _ => Err(BadCommand::Unknown),
    }
}

fn hello(hello: Hello, name: &str) -> Result<Command, BadCommand> {
    // What clients call themselves is often no host name, and tells nothing.
    if name.is_empty() || name.len() > NAME_BYTES || name.contains(' ') {
        return Err(BadCommand::Syntax("EHLO, HELO or LHLO and a host name"));
    }
    Ok(Command::Hello(hello, name.to_owned()))
}

fn bdat(rest: &str) -> Result<Command, BadCommand> {
    let syntax = BadCommand::Syntax("BDAT size [LAST]");
    let (size, last) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_last = match last.trim() {
        "" => false,
        last if last.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(syntax),
    };
    Ok(Command::Bdat(number(size).ok_or(syntax)?, is_last))
}

fn auth(rest: &str) -> Result<Command, BadCommand> {
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    let (mechanism, initial) = (words.next(), words.next());
    match (mechanism, words.next()) {
        (Some(mechanism), None) => {
            Ok(Command::Auth(mechanism.to_ascii_uppercase(), initial.map(str::to_owned)))
        }
        _ => Err(BadCommand::Syntax("AUTH mechanism [initial response]")),
    }
}

fn mail(rest: &str) -> Result<Command, BadCommand> {
    let (path, parameters) = path(rest, "FROM:").ok_or(MAIL)?;
    let from = match path {
        "" => None,
        path => Some(Address::parse(without_route(path)).map_err(BadCommand::Sender)?),
    };
    let mut of_mail = MailParameters::default();
    for (name, value) in each(parameters) {
        match (name.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(size)) => of_mail.size_bytes = Some(number(size).ok_or(MAIL)?),
            // RFC 6152: bytes are kept as they come, whatever was said of them.
            ("BODY", Some(body))
                if ["7BIT", "8BITMIME"].iter().any(|kind| body.eq_ignore_ascii_case(kind)) => {}
            ("SMTPUTF8", None) => of_mail.is_utf8 = true,
            // RFC 4954, 5: who a relay says has sent it. Nobody here trusts that.
            ("AUTH", Some(_)) => {}
            _ => return Err(BadCommand::Parameter),
        }
    }
    Ok(Command::Mail(from, of_mail))
}

fn rcpt(rest: &str) -> Result<Command, BadCommand> {
    let (path, parameters) = path(rest, "TO:").ok_or(RCPT)?;
    let to = Address::parse(without_route(path)).map_err(BadCommand::Recipient)?;
    match each(parameters).next() {
        None => Ok(Command::Rcpt(to)),
        // No extension that is offered has one.
        Some(_) => Err(BadCommand::Parameter),
    }
}

/// What is between the angle brackets after `keyword`, and what follows them.
fn path<'t>(text: &'t str, keyword: &str) -> Option<(&'t str, &'t str)> {
    let (head, rest) = text.split_at_checked(keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    // A blank after the colon is wrong, and said by many.
    let rest = rest.trim_start_matches(' ').strip_prefix('<')?;
    let mut is_quoted = false;
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if is_quoted => drop(chars.next()),
            '"' => is_quoted = !is_quoted,
            '>' if !is_quoted => {
                let after = &rest[at + 1..];
                return (after.is_empty() || after.starts_with(' '))
                    .then_some((&rest[..at], after));
            }
            _ => {}
        }
    }
    None
}

/// RFC 5321, 4.1.1.3: a source route is accepted and passed over.
fn without_route(path: &str) -> &str {
    match path.strip_prefix('@').and_then(|path| path.split_once(':')) {
        Some((_, address)) => address,
        None => path,
    }
}

fn each(parameters: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let words = parameters.split(' ').filter(|word| !word.is_empty());
    words.map(|word| match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    })
}

/// Digits and nothing else; more than any size has is no number.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

const NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn commands_are_taken_apart() {
        let mail = MailParameters::default;
        let table = [
            ("ehlo [127.0.0.1]", Command::Hello(Hello::Ehlo, "[127.0.0.1]".into())),
            ("LHLO a", Command::Hello(Hello::Lhlo, "a".into())),
            ("MAIL FROM:<>", Command::Mail(None, mail())),
            ("mail from: <a@b.c>", Command::Mail(Some(address("a@b.c")), mail())),
            ("MAIL FROM:<@x.y,@z:a@b.c>", Command::Mail(Some(address("a@b.c")), mail())),
            (
                "MAIL FROM:<\"a>b\\\" c\"@b.c> SIZE=10 BODY=8BITMIME SMTPUTF8 AUTH=<>",
                Command::Mail(
                    Some(address("\"a>b\\\" c\"@b.c")),
                    MailParameters { size_bytes: Some(10), is_utf8: true },
                ),
            ),
            ("RCPT TO:<Postmaster>", Command::Rcpt(address("Postmaster"))),
            ("DATA ", Command::Data),
            ("BDAT 0 last", Command::Bdat(0, true)),
            ("BDAT 1048576", Command::Bdat(1_048_576, false)),
            ("AUTH plain AGEAYg==", Command::Auth("PLAIN".into(), Some("AGEAYg==".into()))),
            ("AUTH LOGIN", Command::Auth("LOGIN".into(), None)),
            ("NOOP whatever", Command::Noop),
            ("VRFY a", Command::Vrfy),
        ];
        for (line, command) in table {
            assert_eq!(parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let table: [(&[u8], BadCommand); 24] = [
            (b"", BadCommand::Unknown),
            (b"GET / HTTP/1.1", BadCommand::Unknown),
            (b"EHLO\xff", BadCommand::Unknown),
            (b"EHLO a\0", BadCommand::Unknown),
            (b"NOOP a\rb", BadCommand::Unknown),
            (b"EHLO", BadCommand::Syntax("EHLO, HELO or LHLO and a host name")),
            (b"EHLO a b", BadCommand::Syntax("EHLO, HELO or LHLO and a host name")),
            (b"DATA x", BadCommand::Syntax("no argument is allowed here")),
            (b"MAIL FROM:a@b.c", MAIL),
            (b"MAIL FROM:<a@b.c", MAIL),
            (b"MAIL FROM:<\"a>@b.c", MAIL),
            (b"MAIL TO:<a@b.c>", MAIL),
            (b"MAIL", MAIL),
            (b"MAIL FROM:<a@b.c>x", MAIL),
            (b"MAIL FROM:<a@b.c> SIZE=-1", MAIL),
            (b"MAIL FROM:<a@b.c> SIZE=99999999999999999999", MAIL),
            (b"MAIL FROM:<a@b.c> BODY=BINARYMIME", BadCommand::Parameter),
            (b"MAIL FROM:<a> ", BadCommand::Sender(BadAddress::Incomplete)),
            (b"RCPT TO:<>", BadCommand::Recipient(BadAddress::Incomplete)),
            (b"RCPT TO:<a@b.c> X", BadCommand::Parameter),
            (b"RCPT TO:<a@b.c> NOTIFY=NEVER", BadCommand::Parameter),
            (b"BDAT", BadCommand::Syntax("BDAT size [LAST]")),
            (b"BDAT 1 LAST 2", BadCommand::Syntax("BDAT size [LAST]")),
            (b"AUTH", BadCommand::Syntax("AUTH mechanism [initial response]")),
        ];
        for (line, bad) in table {
            assert_eq!(parse(line), Err(bad), "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line: Vec<u8>, verb in "(MAIL FROM:|RCPT TO:|BDAT |AUTH )", rest in "\\PC{0,30}") {
            let _ = parse(&line);
            let _ = parse(format!("{verb}{rest}").as_bytes());
        }
    }
}
