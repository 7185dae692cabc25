//! What people see: results on stdout, everything else on stderr. Progress only on a terminal,
//! colour only there and without NO_COLOR, nothing of either with --quiet or --json.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use snapshot::progress::Progress;

use crate::cli::Global;
use crate::exit::Exit;

pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    colour: bool,
    /// What a person should know, for documents.
    warnings: Mutex<Vec<String>>,
}

impl Ui {
    pub(crate) fn new(global: &Global) -> Self {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json: global.json, quiet: global.quiet, colour, warnings: Mutex::default() }
    }

    /// Prints a result: `document` with --json, else `text`.
    pub(crate) fn result<T: Serialize>(
        &self,
        kind: &str,
        document: &T,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        let mut out = io::stdout().lock();
        let printed = if self.json {
            let document = Document { kind, content: document };
            serde_json::to_writer(&mut out, &document)?;
            writeln!(out)
        } else {
            out.write_all(printable(&text()).as_bytes())
        };
        match printed.and_then(|()| out.flush()) {
            // `mailrig ls | head` is no failure.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context(WRITING),
        }
    }

    /// Prints what is for programs, as it is.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context(WRITING),
        }
    }

    /// Whether the result is a document, and everything a person should know is in it.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A sentence about what is going on, on stderr.
    pub(crate) fn status(&self, text: impl Display) {
        if !self.quiet && !self.json {
            say(printable(&text.to_string()));
        }
    }

    /// Something a person should know, on stderr.
    pub(crate) fn warning(&self, text: impl Display) {
        self.warnings().push(text.to_string());
        if !self.json {
            let label = if self.colour { "\x1b[33mwarning:\x1b[0m" } else { "warning:" };
            say(format!("{label} {}", cell(&text.to_string())));
        }
    }

    /// All that a person was to know so far.
    pub(crate) fn warnings(&self) -> MutexGuard<'_, Vec<String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the result, on stderr for whoever throws stdout away, as cron does: also
    /// with --quiet. With --json only the sentence; `details` are lines, which the document has.
    pub(crate) fn problem(&self, details: &str, sentence: &str) {
        if self.json {
            say(printable(sentence));
        } else if !io::stdout().is_terminal() {
            if !details.is_empty() {
                say(printable(details.trim_end()));
            }
            self.warning(sentence);
        }
    }

    /// The error that ended the command, with what can be done about it.
    pub(crate) fn error(&self, error: &anyhow::Error, exit: Exit) {
        let message = format!("{error:#}");
        let hint = error.downcast_ref::<snapshot::Error>().and_then(snapshot::Error::hint);
        if self.json {
            return say_failure(exit, message, hint);
        }
        let label = if self.colour { "\x1b[31merror:\x1b[0m" } else { "error:" };
        say(format!("{label} {}", printable(&message)));
        if let Some(hint) = hint {
            say(format!("hint: {}", printable(&hint)));
        }
    }

    /// A line on stderr that changes, on a terminal.
    pub(crate) fn line(&self) -> Line {
        Line { is_shown: io::stderr().is_terminal() && !self.quiet && !self.json, is_there: false }
    }

    /// Shows `progress` until the result is dropped. `unit` names what is counted.
    pub(crate) fn progress(&self, progress: &Arc<Progress>, unit: &'static str) -> ProgressDisplay {
        let is_shown = io::stderr().is_terminal() && !self.quiet && !self.json;
        ProgressDisplay::start(Arc::clone(progress), unit, is_shown)
    }
}

/// A line on stderr. That nobody reads there is no reason to stop.
fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Names come from mail and repositories: what would steer a terminal is shown instead.
fn printable(text: &str) -> Cow<'_, str> {
    harmless(text, |c| steers(c) && c != '\n' && c != '\t')
}

/// As one cell of a table or line: no tab and no line end either.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    harmless(text, steers)
}

fn harmless(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return text.into();
    }
    let show = |c: char| if is_bad(c) { c.escape_default().to_string() } else { c.into() };
    text.chars().map(show).collect::<String>().into()
}

/// Controls, and what turns the direction of text or cannot be seen.
fn steers(c: char) -> bool {
    let is_format = matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || is_format
}

/// An error as a document.
pub(crate) fn say_failure(exit: Exit, message: String, hint: Option<String>) {
    let content = Failure { exit_code: exit as u8, message, hint };
    let document = Document { kind: "error", content: &content };
    say(serde_json::to_string(&document).unwrap_or_default());
}

#[derive(Serialize)]
struct Document<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Serialize)]
struct Failure {
    exit_code: u8,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// A line that changes, and goes when it is dropped.
pub(crate) struct Line {
    is_shown: bool,
    is_there: bool,
}

impl Line {
    pub(crate) fn show(&mut self, text: &str) {
        if !self.is_shown {
            return;
        }
        self.is_there = true;
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| size.ws_col);
        // A line that wraps could not be taken back.
        let columns = usize::from(columns.max(20)) - 1;
        let text: String = printable(text).chars().take(columns).collect();
        let _ = write!(io::stderr(), "\r\x1b[2K{text}");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_there {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

/// A progress bar that reads the counters ten times a second.
pub(crate) struct ProgressDisplay {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressDisplay {
    fn start(progress: Arc<Progress>, unit: &'static str, is_shown: bool) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let thread = is_shown.then(|| {
            thread::spawn(move || {
                // What is over at once would only flicker.
                thread::park_timeout(Duration::from_millis(300));
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                let template = "{wide_bar:.cyan/dim} {pos}/{len} {prefix}  {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_prefix(unit);
                while !is_done.load(Ordering::Relaxed) {
                    draw(&bar, &progress);
                    thread::park_timeout(Duration::from_millis(100));
                }
                bar.finish_and_clear();
            })
        });
        Self { done, thread }
    }
}

fn draw(bar: &ProgressBar, progress: &Progress) {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (messages, bytes) = (read(&progress.messages), read(&progress.bytes));
    let (units, done) = (read(&progress.units), read(&progress.units_done));
    if let Some((what, since)) = progress.wait() {
        bar.set_message(format!("waiting {} for {what}", duration(since)));
        return;
    }
    let elapsed = bar.elapsed();
    let rate = size((bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64);
    // Before the first mailbox is done nothing is known of the others.
    let left = match done {
        0 => "?".to_owned(),
        done => duration(elapsed.mul_f64(units.saturating_sub(done) as f64 / done as f64)),
    };
    bar.set_length(units);
    bar.set_position(done);
    let (messages, bytes, elapsed) = (count(messages), size(bytes), duration(elapsed));
    bar.set_message(format!("{messages} messages  {bytes}  {rate}/s  {elapsed}, left {left}"));
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The columns of the terminal that stdout is; `None` if it is none.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    let columns = || rustix::termios::tcgetwinsize(&out).map_or(0, |size| size.ws_col);
    out.is_terminal().then(|| match columns() {
        0 => 80,
        columns => columns.into(),
    })
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// What failed when stdout takes no more.
pub(crate) const WRITING: &str = "writing the result to standard output";

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `3 messages`, `1 message`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let ending = match noun {
        _ if number == 1 => "",
        "mailbox" => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", count(number))
}

/// `850 ms`, `3.2 s`, `2 min 5 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// `850 µs`, `12.3 ms`, `3.20 s`.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.2} s", us as f64 / 1e6),
        _ => duration(Duration::from_micros(us)),
    }
}

/// A table with aligned columns: text left, numbers right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let is_text = |column: usize| {
        let mut cells = rows.iter().map(|row| row[column].as_str());
        column == 0 || cells.any(|cell| !cell.is_empty() && !cell.starts_with(is_digit))
    };
    let is_text: Vec<bool> = (0..header.len()).map(is_text).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        let mut row = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            if is_text[column] {
                row.push_str(&format!("{gap}{cell:<width$}"));
            } else {
                row.push_str(&format!("{gap}{cell:>width$}"));
            }
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    line(header);
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}
