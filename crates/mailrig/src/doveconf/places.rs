//! What Dovecot's settings say of places outside the mailboxes, of mail_crypt's keys, and what they
//! leave open. Pure; knows the spellings of 2.3 and 2.4.

use std::path::PathBuf;

use maildir::Pattern;

use super::settings::{Setting, Settings};

/// What was understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) home: Option<Pattern>,
    pub(crate) control: Option<Pattern>,
    pub(crate) index: Option<Pattern>,
    pub(crate) sieve: Vec<Pattern>,
    pub(crate) attributes: Option<Pattern>,
    /// Settings that were used, as they stand there.
    pub(crate) used: Vec<String>,
    /// What a person should know: what could not be understood, or is not the same for all users.
    pub(crate) notices: Vec<String>,
    /// Settings of which the same is true for several users, with the path that they share: nothing there
    /// is a mailbox's own.
    pub(crate) shared: Vec<(String, PathBuf)>,
    /// Where keys are without which mail is unreadable.
    pub(crate) keys: Vec<Keys>,
}

/// Keys of mail_crypt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// In this file.
    File(PathBuf),
    /// In a file that `doveconf` does not name, most likely beside its configuration.
    Hidden,
    /// In a dict that is no file.
    Dict(String),
}

/// Mail that is not in Maildirs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoMaildir {
    /// `mdbox`.
    pub(crate) driver: String,
    /// The setting that says so.
    pub(crate) setting: String,
}

/// Reads the settings.
pub(crate) fn places(settings: &Settings) -> Result<Places, NoMaildir> {
    let mut places = Places::default();
    let inbox = namespaces(settings, &mut places);
    location(settings, inbox.as_deref(), &mut places)?;
    home(settings, &mut places);
    sieve(settings, &mut places);
    crypt(settings, &mut places);
    Ok(places)
}

impl Places {
    /// Mail of each folder lies one level deeper; by the control files a mailbox is told from its folders.
    fn deeper(&mut self, setting: &str, name: &str) {
        if self.control.is_some() && !name.is_empty() {
            self.notices.push(format!(
                "{setting} {name} together with control files elsewhere is not understood: each folder \
                 is backed up as a mailbox of its own, and without its UIDs"
            ));
        }
    }

    /// INBOX apart from the other folders: it is in the mailbox only if it lies below `root`.
    fn inbox(&mut self, setting: &str, text: &str, root: &str) {
        let (inbox, root) = (with_tilde(text), with_tilde(root));
        let below = inbox.strip_prefix(root.trim_end_matches('/'));
        if !below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
            self.notices.push(format!(
                "{setting} {text}: INBOX lies outside the mailboxes; back it up as a store of its own \
                 if it is not in this one"
            ));
        }
    }

    /// The pattern that a setting gives; a notice if it is none.
    fn pattern(&mut self, setting: &str, text: &str) -> Option<Pattern> {
        match text.parse::<Pattern>() {
            Ok(pattern) => {
                let used = format!("{setting} {text}");
                if let Some(path) = pattern.shared().filter(|_| setting != HOME) {
                    self.shared.push((used, path));
                    return None;
                }
                if !self.used.contains(&used) {
                    self.used.push(used);
                }
                Some(pattern)
            }
            Err(e) => {
                self.notices.push(format!("{setting} {text} is not used: {e}"));
                None
            }
        }
    }
}

/// The location of the namespace that has INBOX, where it has its own. Others are told.
fn namespaces(settings: &Settings, places: &mut Places) -> Option<String> {
    let mut inbox = None;
    for (name, all) in settings.blocks("namespace") {
        let value = |key: &str| {
            let found = all.iter().rev().find(|s| s.blocks.len() == 1 && s.key == key)?;
            Some(found.value.clone()).filter(|value| !value.is_empty())
        };
        let Some(location) = value("location").or_else(|| value("mail_path")) else { continue };
        if value("inbox").as_deref() == Some("yes") {
            inbox = Some(location);
        } else {
            places.notices.push(format!(
                "namespace {name} lies in {location}: back it up as a store of its own if it is \
                 not in this one"
            ));
        }
    }
    inbox
}

fn location(
    settings: &Settings,
    inbox: Option<&str>,
    places: &mut Places,
) -> Result<(), NoMaildir> {
    if let Some(driver) = settings.get("mail_driver") {
        if driver != "maildir" {
            let setting = format!("mail_driver = {driver}");
            return Err(NoMaildir { driver: driver.to_owned(), setting });
        }
        if let Some(text) = settings.get("mail_control_path") {
            places.control = places.pattern("mail_control_path", text);
        }
        if let Some(text) = settings.get("mail_index_path").filter(|text| *text != "MEMORY") {
            places.index = places.pattern("mail_index_path", text);
        }
        let root = inbox.or_else(|| settings.get("mail_path")).unwrap_or_default();
        // Namespaces may have it, too.
        let paths = settings.iter().filter(|s| s.key == "mail_inbox_path" && !s.value.is_empty());
        for setting in paths {
            places.inbox(&setting.key, &setting.value, root);
        }
        if let Some(name) = settings.get("mailbox_directory_name") {
            places.deeper("mailbox_directory_name", name);
        }
        return Ok(());
    }
    let Some(location) = inbox.or_else(|| settings.get("mail_location")) else {
        let what = "it does not say where mail lies (mail_location): users may have places of \
                    their own";
        places.notices.push(what.into());
        return Ok(());
    };
    let parts = split_location(location);
    match parts[0].as_str() {
        "maildir" => {}
        "auto" => {
            places.notices.push(format!("the driver in {location} differs from user to user"));
        }
        driver => {
            let setting = format!("mail_location = {location}");
            return Err(NoMaildir { driver: driver.to_owned(), setting });
        }
    }
    for part in &parts[1..] {
        match part.split_once('=') {
            Some(("CONTROL", text)) => places.control = places.pattern("CONTROL", text),
            Some(("INDEX", text)) if text != "MEMORY" => {
                places.index = places.pattern("INDEX", text);
            }
            Some(("INBOX", text)) => places.inbox("INBOX", text, &parts[1]),
            _ => {}
        }
    }
    for part in &parts[1..] {
        if let Some((setting @ ("DIRNAME" | "FULLDIRNAME"), name)) = part.split_once('=') {
            places.deeper(setting, name);
        }
    }
    Ok(())
}

/// Splits at colons that are not part of a variable; a doubled one stands for itself.
fn split_location(location: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    let mut chars = location.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && chars.next_if_eq(&':').is_none() => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is one from the start").push(c);
    }
    parts
}

/// A path in the home folder as one spelling has it.
fn with_tilde(path: &str) -> String {
    let below = ["%h", "%{home}"].into_iter().find_map(|home| path.strip_prefix(home));
    below.map_or_else(|| path.to_owned(), |below| format!("~{below}"))
}

fn home(settings: &Settings, places: &mut Places) {
    let mut static_home = None;
    for (name, all) in settings.blocks("userdb") {
        let value = |key: &str| all.iter().find(|s| s.key == key).map(|s| s.value.as_str());
        // 2.4 has the driver in the block's name: `userdb static {`.
        let driver = value("driver").unwrap_or(name).to_owned();
        match driver.as_str() {
            "static" => {
                let args = value("args").unwrap_or_default();
                let of_args = args.split(' ').find_map(|word| word.strip_prefix("home="));
                static_home = of_args.or_else(|| value("home")).map(str::to_owned).or(static_home);
            }
            "passwd" | "prefetch" => {}
            driver => places.notices.push(format!(
                "userdb {driver} may give users homes and locations of their own, which are not seen"
            )),
        }
    }
    if let Some(text) = settings.get("mail_home").map(str::to_owned).or(static_home) {
        places.home = places.pattern(HOME, &text);
    }
}

fn sieve(settings: &Settings, places: &mut Places) {
    for (_, all) in settings.blocks("sieve_script") {
        let value = |key: &str| all.iter().find(|s| s.key == key).map(|s| s.value.clone());
        if value("type").is_some_and(|kind| kind != "personal") {
            continue;
        }
        if let Some(driver) = value("driver").filter(|driver| driver != "file") {
            places.notices.push(format!("Sieve scripts lie in {driver}, not in files"));
            continue;
        }
        for key in ["path", "active_path"] {
            if let Some(text) = value(key) {
                let pattern = places.pattern("sieve", &text);
                places.sieve.extend(pattern);
            }
        }
    }
    let is_plugin = |setting: &Setting| {
        setting.key == "mail_plugins"
            && setting.value.split_whitespace().any(|word| word == "sieve")
    };
    let default = settings.iter().any(is_plugin).then_some("file:~/sieve;active=~/.dovecot.sieve");
    let is_2_4 = settings.get("mail_driver").is_some();
    let Some(text) = settings.plugin("sieve").or(default.filter(|_| !is_2_4)) else { return };
    let mut parts = text.split(';');
    let script = parts.next().unwrap_or_default();
    let script = script.strip_prefix("file:").unwrap_or(script);
    if !script.starts_with(['/', '~', '%']) {
        places.notices.push(format!("Sieve scripts lie in {script}, not in files"));
        return;
    }
    let active = parts.find_map(|part| part.trim().strip_prefix("active="));
    for text in [Some(script), active, settings.plugin("sieve_dir")].into_iter().flatten() {
        let pattern = places.pattern("sieve", text);
        places.sieve.extend(pattern);
    }
}

fn crypt(settings: &Settings, places: &mut Places) {
    let dict = attribute_dict(settings);
    let file = dict.as_deref().and_then(|dict| dict.strip_prefix("file:"));
    if let Some(file) = file {
        places.attributes = places.pattern("attributes", file);
    }
    for setting in settings.iter() {
        match setting.key.as_str() {
            "mail_crypt_global_private_key" => places.keys.push(Keys::Hidden),
            "crypt_private_key_file" => places.keys.push(Keys::File(setting.value.clone().into())),
            // Set only where users or folders have keys of their own.
            "mail_crypt_curve" | "crypt_user_key_curve" => match &dict {
                Some(_) if places.attributes.is_some() => {}
                Some(_) if let Some(file) = file => places.keys.push(Keys::File(file.into())),
                Some(dict) => places.keys.push(Keys::Dict(dict.clone())),
                None => {}
            },
            _ => {}
        }
    }
    places.keys.dedup();
}

/// `file:PATH` or another dict's name, in which Dovecot has attributes.
fn attribute_dict(settings: &Settings) -> Option<String> {
    if let Some(dict) = settings.get("mail_attribute_dict") {
        return Some(dict.to_owned());
    }
    // 2.4: `mail_attribute { dict file { path = … } }`.
    let (_, all) = settings.blocks("mail_attribute").into_iter().next_back()?;
    let driver = all.iter().find_map(|s| s.blocks.get(1)?.strip_prefix("dict "))?;
    let path = all.iter().find(|s| s.key == "path").map_or("", |s| s.value.as_str());
    Some(format!("{driver}:{path}"))
}

/// The one setting that mailboxes may share: what lies below it may differ.
const HOME: &str = "home";

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
