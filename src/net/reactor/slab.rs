//! A table that numbers its entries, small numbers first. Pure.

/// Entries by number. A number is given again after its entry has left.
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, entry: T) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.entries[number] = Some(entry);
                number
            }
            None => {
                self.entries.push(Some(entry));
                self.entries.len() - 1
            }
        }
    }

    pub fn get(&self, number: usize) -> Option<&T> {
        self.entries.get(number)?.as_ref()
    }

    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.entries.get_mut(number)?.as_mut()
    }

    pub fn remove(&mut self, number: usize) -> Option<T> {
        let entry = self.entries.get_mut(number)?.take()?;
        self.free.push(number);
        Some(entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_again_and_only_once() {
        let mut slab = Slab::default();
        let numbers: Vec<_> = (0..4).map(|entry| slab.insert(entry)).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!((slab.remove(1), slab.remove(1)), (Some(1), None));
        assert_eq!((slab.remove(3), slab.remove(9)), (Some(3), None));
        assert_eq!(
            [slab.insert(10), slab.insert(11), slab.insert(12)],
            [3, 1, 4]
        );
        assert_eq!((slab.get(1), slab.get(5)), (Some(&11), None));
        assert_eq!(slab.iter().copied().collect::<Vec<_>>(), [0, 11, 2, 10, 12]);
    }
}
