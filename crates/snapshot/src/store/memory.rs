//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::ops::Range;
use std::sync::Mutex;

use super::{Body, Counters, Data, Error, Object, Put, Requests, Result, Store};

/// Objects in a map; durable as soon as they are put.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    counters: Counters,
}

impl Memory {
    /// Replaces an object's bytes, as a failing disk or an attacker would.
    pub fn corrupt(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().expect("no holder panics");
        change(objects.get_mut(key).expect("the object to corrupt exists"));
    }
}

impl Store for Memory {
    fn put(&self, key: &str, body: Body) -> Result<Put> {
        Counters::add(&self.counters.put);
        let bytes = match body.data {
            Data::Memory(bytes) => bytes,
            Data::File(mut file) => {
                let mut bytes = Vec::new();
                file.rewind()
                    .and_then(|()| file.read_to_end(&mut bytes))
                    .map_err(|e| Error::io("write", key, e))?;
                bytes
            }
        };
        let mut objects = self.objects.lock().expect("no holder panics");
        if objects.contains_key(key) {
            return Ok(Put::Exists);
        }
        objects.insert(key.to_owned(), bytes);
        Ok(Put::Created)
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        Counters::add(&self.counters.get);
        let objects = self.objects.lock().expect("no holder panics");
        let bytes = objects.get(key).ok_or_else(|| Error::NotFound { key: key.to_owned() })?;
        let size_bytes = bytes.len() as u64;
        if size_bytes > limit_bytes {
            return Err(Error::TooLarge { key: key.to_owned(), size_bytes, limit_bytes });
        }
        Ok(bytes.clone())
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        Counters::add(&self.counters.get);
        let objects = self.objects.lock().expect("no holder panics");
        let bytes = objects.get(key).ok_or_else(|| Error::NotFound { key: key.to_owned() })?;
        let range = range.start as usize..range.end as usize;
        let slice = bytes.get(range).ok_or_else(|| Error::Truncated { key: key.to_owned() })?;
        Ok(slice.to_vec())
    }

    fn size(&self, key: &str) -> Result<u64> {
        Counters::add(&self.counters.head);
        let objects = self.objects.lock().expect("no holder panics");
        let bytes = objects.get(key).ok_or_else(|| Error::NotFound { key: key.to_owned() })?;
        Ok(bytes.len() as u64)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        Counters::add(&self.counters.list);
        let objects = self.objects.lock().expect("no holder panics");
        for (key, bytes) in objects.range(prefix.to_owned()..) {
            if !key.starts_with(prefix) {
                break;
            }
            each(Object { key: key.clone(), size_bytes: bytes.len() as u64 });
        }
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<()> {
        Counters::add(&self.counters.delete);
        self.objects.lock().expect("no holder panics").remove(key);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn requests(&self) -> Requests {
        self.counters.read()
    }

    fn display(&self) -> String {
        "memory".into()
    }
}
