//! Small random numbers, for jitter and for policy `random`; nothing secret hangs on them. Pure:
//! the caller brings the seed.

/// A sequence of numbers (SplitMix64: Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        let number = further(self.0);
        self.0 = self.0.wrapping_add(STEP);
        number
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number that looks unlike `random` and is always the same for it.
pub fn further(random: u64) -> u64 {
    let mut z = random.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `bound`, which is not 0; each as likely as the other.
pub fn below(random: u64, bound: u64) -> u64 {
    // Less than `bound`, so it fits.
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_paper() {
        // The first numbers of the authors' own program for the seed 1234567.
        let mut dice = Dice::new(1_234_567);
        let rolled = [dice.roll(), dice.roll(), dice.roll()];
        assert_eq!(
            rolled,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn numbers_are_below_their_bound() {
        assert_eq!(
            (below(0, 7), below(u64::MAX, 7), below(u64::MAX, 1)),
            (0, 6, 0)
        );
    }
}
