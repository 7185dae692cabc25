//! `doveconf -n` of real servers against what is understood of it. Those of 2.3 are what Debian's
//! 2.3.19 printed.

use super::*;

fn understood(text: &str) -> Places {
    places(&Settings::parse(text)).unwrap()
}

fn pattern(text: &str) -> Option<Pattern> {
    Some(text.parse().unwrap())
}

const DEBIAN_2_3: &str = "\
# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
# Pigeonhole version 0.5.19 (4eae2f79)
# OS: Linux 6.1.0 x86_64 Debian 12.11 
# Hostname: mx1
mail_attribute_dict = file:%h/dovecot-attributes
mail_home = /var/vmail/%d/%n
mail_location = maildir:~/Maildir:CONTROL=/var/lib/dovecot/control/%d/%n:INDEX=/var/cache/dovecot/%u:LAYOUT=fs
mail_plugins = \" mail_crypt\"
namespace inbox {
  inbox = yes
  location = 
  mailbox Sent {
    special_use = \\Sent
  }
  prefix = 
}
plugin {
  mail_crypt_global_private_key = # hidden, use -P to show it
  mail_crypt_global_public_key = # hidden, use -P to show it
  mail_crypt_save_version = 2
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
ssl = no
userdb {
  args = uid=5000 gid=5000 home=/elsewhere/%d/%n
  driver = static
}
userdb {
  args = /etc/dovecot/users
  driver = passwd-file
}
";

#[test]
fn settings_of_2_3_are_understood() {
    let places = understood(DEBIAN_2_3);
    assert_eq!(places.home, pattern("/var/vmail/%d/%n"));
    assert_eq!(places.control, pattern("/var/lib/dovecot/control/%d/%n"));
    assert_eq!(places.index, pattern("/var/cache/dovecot/%u"));
    let sieve = ["~/sieve", "~/.dovecot.sieve"].map(|text| text.parse().unwrap());
    assert_eq!(places.sieve, sieve);
    assert_eq!(places.attributes, pattern("%h/dovecot-attributes"));
    assert_eq!(places.keys, [Keys::Hidden]);
    let notice =
        "userdb passwd-file may give users homes and locations of their own, which are not seen";
    assert_eq!(places.notices, [notice]);
}

/// Written after the manual of 2.4: no server of that version is at hand.
const MANUAL_2_4: &str = "\
# 2.4.1 (7d8c0e5759): /etc/dovecot/dovecot.conf
# Pigeonhole version 2.4.1 (0a86619f)
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
crypt_global_private_key main {
  crypt_private_key_file = /etc/dovecot/ecprivkey.pem
}
crypt_global_public_key_file = /etc/dovecot/ecpubkey.pem
mail_attribute {
  dict file {
    path = %{home}/dovecot-attributes
  }
}
mail_control_path = /var/lib/dovecot/control/%{user | domain}/%{user | username}
mail_driver = maildir
mail_home = /var/vmail/%{user | domain}/%{user | username}
mail_index_path = /var/cache/dovecot/%{user}
mail_path = ~/Maildir
namespace inbox {
  inbox = yes
  mailbox Sent {
    special_use = \"\\\\Sent\"
  }
}
namespace public {
  mail_path = /var/mail/public
  type = public
}
sieve_script personal {
  active_path = ~/.dovecot.sieve
  path = ~/sieve
}
sieve_script before {
  path = /etc/dovecot/sieve/before.sieve
  type = before
}
userdb static {
  fields {
    home = /elsewhere/%{user}
  }
}
";

#[test]
fn settings_of_2_4_are_understood() {
    let places = understood(MANUAL_2_4);
    assert_eq!(places.home, pattern("/var/vmail/%d/%n"));
    assert_eq!(places.control, pattern("/var/lib/dovecot/control/%d/%n"));
    assert_eq!(places.index, pattern("/var/cache/dovecot/%u"));
    let sieve = ["~/sieve", "~/.dovecot.sieve"].map(|text| text.parse().unwrap());
    assert_eq!(places.sieve, sieve);
    assert_eq!(places.attributes, pattern("~/dovecot-attributes"));
    assert_eq!(places.keys, [Keys::File("/etc/dovecot/ecprivkey.pem".into())]);
    assert_eq!(places.notices.len(), 1, "{:?}", places.notices);
    assert!(places.notices[0].starts_with("namespace public lies in /var/mail/public"));
}

#[test]
fn other_drivers_are_named() {
    for (text, driver) in [
        ("mail_location = mdbox:~/mdbox\n", "mdbox"),
        ("mail_location = mbox:~/mail:INBOX=/var/mail/%u\n", "mbox"),
        ("mail_driver = sdbox\nmail_path = ~/sdbox\n", "sdbox"),
        ("namespace a {\n  inbox = yes\n  location = imapc:\n}\n", "imapc"),
    ] {
        assert_eq!(places(&Settings::parse(text)).unwrap_err().driver, driver);
    }
}

#[test]
fn small_things_are_understood_or_told() {
    // The namespace of INBOX overrules; a colon in a path is doubled.
    let text = "mail_location = mdbox:~/m\nnamespace inbox {\n  inbox = yes\n  \
                location = maildir:~/M:CONTROL=/a::b/%u\n}\n";
    assert_eq!(understood(text).control, pattern("/a:b/%u"));
    let static_home = "mail_location = maildir:~/M\nuserdb {\n  args = uid=1 home=/h/%n\n  \
                       driver = static\n}\n";
    assert_eq!(understood(static_home).home, pattern("/h/%n"));
    assert_eq!(understood("mail_location = maildir:~/M:INDEX=MEMORY\n").index, None);
    // With the plugin loaded, scripts are where they are by default.
    let lmtp = "mail_location = maildir:~/M\nprotocol lmtp {\n  mail_plugins = \" sieve\"\n}\n";
    assert_eq!(understood(lmtp).sieve.len(), 2);
    let plain = "mail_location = maildir:~/M\nplugin {\n  sieve = ~/.dovecot.sieve\n  \
                 sieve_dir = ~/sieve\n}\n";
    assert_eq!(understood(plain).sieve.len(), 2);
    for (text, notice) in [
        ("mail_location = maildir:~/M:CONTROL=/c/%{userdb:x}\n", "CONTROL /c/%{userdb:x} is not"),
        ("mail_location = maildir:~/M:DIRNAME=mail:CONTROL=/c/%u\n", "DIRNAME mail together with"),
        (
            "mail_driver = maildir\nmail_control_path = /c/%u\nmailbox_directory_name = mail\n",
            "mailbox_directory_name mail together with",
        ),
        ("mail_location = maildir:~/M:INBOX=/var/mail/%u\n", "INBOX /var/mail/%u: INBOX lies"),
        ("mail_location = maildir:~/M:INBOX=~/Mail\n", "INBOX ~/Mail: INBOX lies"),
        (
            "mail_driver = maildir\nmail_path = ~/M\nmail_inbox_path = /var/mail/%{user}\n",
            "mail_inbox_path /var/mail/%{user}: INBOX lies",
        ),
        (
            "mail_driver = maildir\nmail_path = ~/M\nnamespace inbox {\n  \
             mail_inbox_path = /var/mail/x\n}\n",
            "mail_inbox_path /var/mail/x: INBOX lies",
        ),
        ("ssl = no\n", "it does not say where mail lies"),
        (
            "mail_location = maildir:~/M\nplugin {\n  sieve = ldap:/x;name=y\n}\n",
            "Sieve scripts lie in ldap:",
        ),
        ("mail_location = maildir:~/M\nuserdb {\n  driver = sql\n}\n", "userdb sql may give users"),
    ] {
        let notices = understood(text).notices;
        assert!(notices[0].starts_with(notice), "{notices:?}");
    }
    for text in [
        "mail_location = maildir:~/M:INBOX=%h/M/.INBOX\n",
        "mail_location = maildir:~/M/:INBOX=~/M\n",
        "mail_driver = maildir\nmail_path = ~/M\nmail_inbox_path = %{home}/M/in\n",
    ] {
        assert_eq!(understood(text).notices, [""; 0], "it is in the mailbox");
    }
    let shared = "mail_location = maildir:~/M\nmail_attribute_dict = file:/etc/keys\nplugin {\n  \
                  sieve = /etc/sieve/all.sieve\n  mail_crypt_curve = secp521r1\n}\n";
    let places = understood(shared);
    assert_eq!((&places.sieve, &places.attributes), (&vec![], &None));
    let paths = ["/etc/sieve/all.sieve", "/etc/keys"];
    let said: Vec<_> = places.shared.iter().map(|(_, path)| path.to_str().unwrap()).collect();
    assert_eq!(said, paths);
    assert_eq!(places.keys, [Keys::File("/etc/keys".into())]);
    let beside_it = "mail_location = maildir:~/M:LAYOUT=fs:DIRNAME=mail\n";
    assert_eq!(understood(beside_it).notices, [""; 0], "its files show what is a folder");
    let dict = "mail_location = maildir:~/M\nmail_attribute_dict = redis:host=x\nplugin {\n  \
                mail_crypt_curve = secp521r1\n}\n";
    assert_eq!(understood(dict).keys, [Keys::Dict("redis:host=x".into())]);
}
