//! How far a standby is behind: messages that one role has and another one has not yet, by counting each mailbox. Who
//! replicates gives messages other names, so that names say nothing.

use std::collections::BTreeMap;

use crate::reach::{INBOX, Reading};
use crate::survey::count_store;
use crate::world::{World, lock};

/// Messages by mailbox.
type Counts = BTreeMap<String, u64>;

/// How many messages `of` lacks of those that `behind` has. The standby is counted last: what has come meanwhile is not
/// held against it.
pub(crate) async fn lag(world: &World, of: &str, behind: &str) -> Result<u64, String> {
    let by_store = [of, behind].iter().all(|role| store(world, role).is_some());
    let ahead = counts(world, behind, by_store).await?;
    let standby = counts(world, of, by_store).await?;
    Ok(missing(&ahead, &standby))
}

fn missing(ahead: &Counts, standby: &Counts) -> u64 {
    let had = |mailbox: &String| standby.get(mailbox).copied().unwrap_or(0);
    ahead.iter().map(|(mailbox, count)| count.saturating_sub(had(mailbox))).sum()
}

fn store<'w>(world: &'w World, role: &str) -> Option<&'w str> {
    let store = world.scenario.roles.get(role)?.store.as_ref()?;
    Some(&store.maildirs)
}

async fn counts(world: &World, role: &str, by_store: bool) -> Result<Counts, String> {
    if let Some(root) = store(world, role).filter(|_| by_store) {
        let root = root.to_owned();
        let count = move || count_store(root.as_ref());
        return tokio::task::spawn_blocking(count).await.map_err(|e| e.to_string())?;
    }
    let reading = Reading::of(role, &world.scenario, &lock(&world.values))?;
    let mut counts = Counts::new();
    for person in world.recipients.keys() {
        let mut session = reading.log_in(person).await?;
        let opened = session.examine(INBOX).await.map_err(|e| format!("{role}, {person}: {e}"))?;
        counts.insert(person.clone(), opened.exists.into());
        session.log_out().await;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_standby_has_beyond_makes_up_for_nothing_elsewhere() {
        let counts = |all: &[(&str, u64)]| -> Counts {
            all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let ahead = counts(&[("a", 3), ("b", 2), ("c", 1)]);
        assert_eq!(missing(&ahead, &ahead), 0);
        assert_eq!(missing(&ahead, &counts(&[("a", 9), ("b", 1)])), 2);
        assert_eq!(missing(&counts(&[]), &ahead), 0);
    }
}
