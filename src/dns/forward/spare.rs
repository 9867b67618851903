//! Memory of messages that were sent, for the next ones: an allocator takes several times as
//! long to give and take.

/// Most that are kept: as many as are under way when many queries come at once.
const MAX_SPARE: usize = 64;

/// Longer ones are not kept, bytes.
const MAX_LENGTH: usize = 2048;

/// See the module.
#[derive(Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// An empty one.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps one, if there is room.
    pub(super) fn give_back(&mut self, mut message: Vec<u8>) {
        if self.0.len() < MAX_SPARE && message.capacity() <= MAX_LENGTH {
            message.clear();
            self.0.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again_empty_and_within_bounds() {
        let mut spare = Spare::default();
        spare.give_back(vec![1; 100]);
        let taken = spare.take();
        assert!(taken.is_empty() && taken.capacity() >= 100);
        spare.give_back(vec![0; MAX_LENGTH + 1]);
        assert!(spare.0.is_empty());
        (0..2 * MAX_SPARE).for_each(|_| spare.give_back(vec![0; 10]));
        assert_eq!(spare.0.len(), MAX_SPARE);
    }
}
