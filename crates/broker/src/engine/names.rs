//! Names the broker makes up: server-named queues and consumer tags.
//!
//! Does not know what is named; uniqueness among existing names is checked by the caller.

/// Makes names from a seed; the same seed gives the same names.
#[derive(Debug)]
pub(super) struct NameGenerator(u64);

impl NameGenerator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A name such as `amq.gen-3f9c…` with 128 bits after the prefix.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        format!("{prefix}-{}", self.token())
    }

    /// 128 bits that are not given out twice.
    pub(super) fn token(&mut self) -> String {
        format!("{:016x}{:016x}", self.step(), self.step())
    }

    /// One step of SplitMix64, a well-mixed counter: these names must differ, not be secret.
    fn step(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
