//! A small generator, so that a seed that fails can be run again. The unit tests of the library use this file too.

/// xorshift64; its seed is not zero.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// 0 to below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}
