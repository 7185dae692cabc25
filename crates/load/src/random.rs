//! Numbers from a seed, the same on every machine (SplitMix64): two people with one seed have one plan and the same
//! messages. Not for secrets.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers of their own for every `stream` of a seed: a message's are those of its index, whoever makes it.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        // The first of neighbouring streams differ in few bits.
        random.0 = random.next_u64();
        random
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; zero when `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next_u64() % end }
    }

    /// From 0 up to, and without, 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something of this probability (0 to 1) happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponentially distributed, with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normally distributed, with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_their_distributions() {
        let mut random = Random::new(7, 1);
        let mut mean_of = |draw: fn(&mut Random) -> f64| {
            (0..100_000).map(|_| draw(&mut random)).sum::<f64>() / 100_000.0
        };
        for (draw, mean) in [
            (Random::unit as fn(&mut Random) -> f64, 0.5),
            (Random::exponential, 1.0),
            (Random::normal, 0.0),
            (|random| random.normal().powi(2), 1.0),
        ] {
            let found = mean_of(draw);
            assert!((found - mean).abs() < 0.02, "{found} and not {mean}");
        }
    }

    #[test]
    fn streams_differ_and_repeat() {
        let first = |stream| Random::new(1, stream).next_u64();
        assert_eq!(first(5), first(5));
        let distinct: std::collections::BTreeSet<u64> = (0..10_000).map(first).collect();
        assert_eq!(distinct.len(), 10_000);
    }
}
