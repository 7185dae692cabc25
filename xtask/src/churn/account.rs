//! A worker's account of its messages: which of them were there all the time that a window was open,
//! and how many names each letter had at most. The window is opened before a backup starts
//! and closed after it ended, so what the account calls *there throughout* was so for the backup.

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Context, Result};

/// Where a message is: its folder, `new` or `cur`, and its base name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) folder: usize,
    pub(super) is_new: bool,
    pub(super) base: String,
}

/// One message: a name, and the letter behind it.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) letter: u64,
    pub(super) place: Place,
    pub(super) flags: &'static str,
    is_throughout: bool,
    has_stayed: bool,
}

/// How many names a letter has, and had at most since the window was opened.
#[derive(Debug, Clone, Copy, Default)]
struct Names {
    now: u32,
    most: u32,
}

#[derive(Default)]
pub(super) struct Account {
    messages: Vec<Message>,
    names: HashMap<u64, Names>,
}

impl Account {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn message(&self, at: usize) -> &Message {
        &self.messages[at]
    }

    /// What is there now has been there since the window was opened.
    pub(super) fn open_window(&mut self) {
        for message in &mut self.messages {
            (message.is_throughout, message.has_stayed) = (true, true);
        }
        self.names.retain(|_, names| names.now > 0);
        for names in self.names.values_mut() {
            names.most = names.now;
        }
    }

    /// A new name for a letter: delivered or copied. To be called before the name is made, so that
    /// no backup can see more names than are accounted for.
    pub(super) fn add(&mut self, letter: u64, place: Place, flags: &'static str) {
        self.will_have_one_more_name(letter);
        let (is_throughout, has_stayed) = (false, false);
        self.messages.push(Message { letter, place, flags, is_throughout, has_stayed });
    }

    pub(super) fn set_flags(&mut self, at: usize, is_new: bool, flags: &'static str) {
        self.messages[at].flags = flags;
        self.messages[at].place.is_new = is_new;
    }

    pub(super) fn set_place(&mut self, at: usize, place: Place) {
        self.messages[at].has_stayed = false;
        self.messages[at].place = place;
    }

    /// For the moment between a link and an unlink, too.
    pub(super) fn will_have_one_more_name(&mut self, letter: u64) {
        let names = self.names.entry(letter).or_default();
        names.now += 1;
        names.most = names.most.max(names.now);
    }

    pub(super) fn has_one_name_less(&mut self, letter: u64) {
        if let Some(names) = self.names.get_mut(&letter) {
            names.now = names.now.saturating_sub(1);
        }
    }

    /// Expunged: to be called before the name goes.
    pub(super) fn remove(&mut self, at: usize) -> Message {
        let message = self.messages.swap_remove(at);
        self.has_one_name_less(message.letter);
        message
    }

    /// The window's account as text: `l LETTER MOST` for each letter, then
    /// `m LETTER stayed|moved FOLDER BASE` for each message that was there throughout.
    pub(super) fn close_window(&self, folders: &[String]) -> String {
        let mut text = String::with_capacity(self.messages.len() * 96);
        // Writing to a string cannot fail.
        for (letter, names) in &self.names {
            let _ = writeln!(text, "l {letter:x} {}", names.most);
        }
        for message in self.messages.iter().filter(|message| message.is_throughout) {
            let Message { letter, place, has_stayed, .. } = message;
            let stayed = if *has_stayed { "stayed" } else { "moved" };
            let _ =
                writeln!(text, "m {letter:x} {stayed} {} {}", folders[place.folder], place.base);
        }
        text
    }
}

/// What a backup must hold of one letter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// The most names that it had at any instant.
    pub(super) most: u32,
    /// Messages that were there throughout: folder and base name at the end, and whether they were
    /// the same all the time.
    pub(super) throughout: Vec<(String, String, bool)>,
}

/// Reads what [`Account::close_window`] wrote, of one worker after the other.
pub(super) fn read(text: &str, into: &mut HashMap<u64, Expected>) -> Result<()> {
    for line in text.lines() {
        read_line(line, into).with_context(|| format!("an account says `{line}`"))?;
    }
    Ok(())
}

fn read_line(line: &str, into: &mut HashMap<u64, Expected>) -> Result<()> {
    let mut words = line.split(' ');
    let mut word = || words.next().context("a word is missing");
    let (kind, letter) = (word()?, u64::from_str_radix(word()?, 16)?);
    let expected = into.entry(letter).or_default();
    if kind == "l" {
        expected.most = word()?.parse()?;
        return Ok(());
    }
    let has_stayed = word()? == "stayed";
    expected.throughout.push((word()?.to_owned(), word()?.to_owned(), has_stayed));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: usize, base: &str) -> Place {
        Place { folder, is_new: false, base: base.to_owned() }
    }

    fn expected(account: &Account) -> HashMap<u64, Expected> {
        let mut expected = HashMap::new();
        let folders = ["inbox".to_owned(), "inbox/.Sent".to_owned()];
        read(&account.close_window(&folders), &mut expected).expect("it is an account");
        expected
    }

    #[test]
    fn what_came_or_went_in_the_window_was_not_there_throughout() {
        let mut account = Account::default();
        for (letter, base) in [(1, "1.a"), (2, "2.a"), (3, "3.a")] {
            account.add(letter, place(0, base), "");
        }
        account.open_window();
        account.add(4, place(1, "4.a"), "S");
        account.set_place(1, place(1, "2.b"));
        account.remove(0);
        let expected = expected(&account);
        assert_eq!(expected[&1], Expected { most: 1, throughout: vec![] });
        assert_eq!(expected[&4], Expected { most: 1, throughout: vec![] });
        let moved = ("inbox/.Sent".to_owned(), "2.b".to_owned(), false);
        assert_eq!(expected[&2], Expected { most: 1, throughout: vec![moved] });
        let stayed = ("inbox".to_owned(), "3.a".to_owned(), true);
        assert_eq!(expected[&3], Expected { most: 1, throughout: vec![stayed] });
    }

    #[test]
    fn a_copy_or_a_move_by_link_allows_one_more_name_in_that_window_only() {
        let mut account = Account::default();
        account.add(1, place(0, "1.a"), "");
        account.open_window();
        account.will_have_one_more_name(1);
        account.has_one_name_less(1);
        assert_eq!(expected(&account)[&1].most, 2);
        account.open_window();
        assert_eq!(expected(&account)[&1].most, 1);
        account.add(1, place(1, "1.b"), "");
        account.remove(0);
        assert_eq!(expected(&account)[&1].most, 2);
        account.open_window();
        account.remove(0);
        assert_eq!(expected(&account)[&1].most, 1);
        account.open_window();
        assert!(expected(&account).is_empty());
    }
}
