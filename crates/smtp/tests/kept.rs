//! What is kept, and what is not, when something is wrong with the disk, the client or the rules: never a part of a
//! message, and never a 250 that is not so.

use std::fs;

use crate::told::say;
use crate::world::{Plan, World};

fn message(to: &[&str], body: &str) -> String {
    let to: String = to.iter().map(|to| format!("RCPT TO:<{to}@x.test>\r\n")).collect();
    format!("EHLO c\r\nMAIL FROM:<s@c.test>\r\n{to}DATA\r\n{body}\r\n.\r\nQUIT\r\n")
}

#[tokio::test]
async fn a_message_without_one_of_its_chunks_is_none() {
    for nth in 1..=2 {
        let world = World::start(Plan::default()).await;
        let before = "[[rule]]\nat = 'data'\ntimes = 1\nstall_ms = 1\n".repeat(nth - 1);
        let rule = "[[rule]]\nat = 'data'\ntimes = 1\nreply = '451 4.3.0 later'\n";
        world.server.faults.load(&format!("{before}{rule}")).unwrap();
        let chunks = "BDAT 3\r\nx\r\nBDAT 3\r\ny\r\nBDAT 3 LAST\r\nz\r\n";
        let hello = "EHLO c\r\nMAIL FROM:<s@c.test>\r\nRCPT TO:<a@x.test>\r\n";
        let said = say(&world, &format!("{hello}{chunks}QUIT\r\n")).await;
        assert!(said.contains("451 4.3.0 later") && said.contains("503 "), "{said}");
        assert!(!said.contains("kept as"), "{said}");
        assert!(world.messages("x.test/a").is_empty());
        world.stop().await;
    }
}

#[tokio::test]
async fn no_rule_says_that_what_was_refused_is_done() {
    let rules = "[[rule]]\nat = 'rcpt'\nreply = '250 2.1.5 fine'\n\
                 [[rule]]\nat = 'end'\nreply = '250 2.0.0 fine'\n";
    let world = World::start(Plan { rules, ..Plan::default() }).await;
    let said = say(&world, &message(&["nobody", "a"], "x")).await;
    assert!(said.contains("550 5.1.1") && said.contains("2.1.5 fine"), "{said}");
    assert!(said.contains("2.0.0 fine") && world.messages("x.test/a").len() == 1, "{said}");
    let said = say(&world, &message(&["a"], "a\nb")).await;
    assert!(said.contains("550 5.6.11") && !said.contains("2.0.0 fine"), "{said}");
    world.stop().await;
}

#[tokio::test]
async fn where_there_is_no_room_the_client_is_told() {
    let world = World::start(Plan::default()).await;
    fs::remove_dir(world.dir.path().join("spool")).unwrap();
    let large = "0123456789\r\n".repeat(15_000);
    let said = say(&world, &message(&["a"], &large)).await;
    assert!(said.contains("452 4.3.1") && said.contains("221 "), "{said}");
    // What needs no spool needs none.
    let said = say(&world, &message(&["a"], "x")).await;
    assert!(said.contains("kept as"), "{said}");
    fs::rename(world.mail().join("b/tmp"), world.mail().join("b/gone")).unwrap();
    let said = say(&world, &message(&["a", "b"], "x")).await;
    assert!(said.contains("451 4.3.0"), "{said}");
    fs::rename(world.mail().join("b/gone"), world.mail().join("b/tmp")).unwrap();
    assert_eq!(world.messages("x.test/a").len(), 1);
    world.assert_clean();
    world.stop().await;
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_looked_at_is_not_refused_for_good() {
    let world = World::start(Plan::default()).await;
    let new = world.mail().join("a/new");
    fs::remove_dir(&new).unwrap();
    std::os::unix::fs::symlink(&new, &new).unwrap();
    let said = say(&world, &message(&["a"], "x")).await;
    assert!(said.contains("451 4.3.0") && !said.contains("550 "), "{said}");
    fs::remove_file(&new).unwrap();
    let (root, away) = (world.dir.path().join("vmail"), world.dir.path().join("not mounted"));
    fs::rename(&root, &away).unwrap();
    let said = say(&world, &message(&["a"], "x")).await;
    assert!(said.contains("451 4.3.0") && !said.contains("550 "), "{said}");
    fs::rename(&away, &root).unwrap();
    let said = say(&world, &message(&["a"], "x")).await;
    assert!(said.contains("550 5.1.1"), "{said}");
    world.stop().await;
}

#[tokio::test]
async fn a_rule_that_says_goodbye_closes() {
    for at in ["mail", "rcpt", "data", "end"] {
        let world = World::start(Plan::default()).await;
        world.server.faults.load(&format!("[[rule]]\nat = '{at}'\nreply = '421 bye'\n")).unwrap();
        let said = say(&world, &message(&["a"], "x")).await;
        assert!(said.ends_with("421 bye\r\n"), "{at}: {said}");
        assert!(world.messages("x.test/a").is_empty(), "{at}");
        world.stop().await;
    }
}

#[tokio::test]
async fn who_is_named_twice_has_it_once() {
    let world = World::start(Plan::default()).await;
    let said = say(&world, &message(&["a", "b", "a"], "x")).await;
    assert_eq!(said.matches("250 2.1.5").count(), 3, "{said}");
    assert_eq!([world.messages("x.test/a").len(), world.messages("x.test/b").len()], [1, 1]);
    world.stop().await;
}
