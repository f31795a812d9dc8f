//! Whom a legacy id became: the one thing an import keeps for every user, 24 bytes each.

/// A user of the source, as they are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The subject's id here.
    pub(crate) subject: [u8; 16],
    /// The primary key there.
    pub(crate) legacy_id: u32,
    /// Active in the source.
    pub(crate) active: bool,
    /// Not known here before this import.
    pub(crate) new: bool,
}

/// All holders, by legacy id. Rows come in the order of their ids, so that adding is appending.
#[derive(Debug, Default)]
pub(crate) struct Holders(Vec<Holder>);

impl Holders {
    /// Remembers one; the last of an id counts.
    pub(crate) fn add(&mut self, holder: Holder) {
        match self.0.last() {
            Some(last) if last.legacy_id >= holder.legacy_id => match self.0.binary_search_by_key(&holder.legacy_id, |h| h.legacy_id) {
                Ok(at) => {
                    if let Some(held) = self.0.get_mut(at) {
                        *held = holder;
                    }
                }
                Err(at) => self.0.insert(at, holder),
            },
            _ => self.0.push(holder),
        }
    }

    /// All of them, so many at a time, in the order of their legacy ids.
    pub(crate) fn chunks(&self, at_once: usize) -> impl Iterator<Item = &[Holder]> {
        self.0.chunks(at_once)
    }

    /// Whom an id became; `None` where that user was refused or never was.
    pub(crate) fn find(&self, legacy_id: u32) -> Option<&Holder> {
        let at = self.0.binary_search_by_key(&legacy_id, |holder| holder.legacy_id).ok()?;
        self.0.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(legacy_id: u32) -> Holder {
        Holder { subject: [u8::try_from(legacy_id % 256).unwrap(); 16], legacy_id, active: true, new: false }
    }

    #[test]
    fn l1_a_legacy_id_finds_its_subject_in_whatever_order_it_came() {
        let mut holders = Holders::default();
        for id in [1, 2, 7, 5, 2_147_483_647, 5] {
            holders.add(holder(id));
        }
        for id in [1, 2, 5, 7, 2_147_483_647] {
            assert_eq!(holders.find(id), Some(&holder(id)));
        }
        assert_eq!(holders.find(3), None);
        assert_eq!(holders.0.len(), 5);
    }

    #[test]
    fn a_holder_takes_24_bytes() {
        assert_eq!(size_of::<Holder>(), 24);
    }
}
