//! How large messages are: a fixed size, a range, a lognormal distribution or a named mix. Sizes are of whole messages
//! as they travel. They are drawn in strata, so that a small pool of messages has the distribution of the mix.

use std::fmt;
use std::str::FromStr;

/// A distribution of sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    text: String,
    classes: Vec<Class>,
}

/// Messages of one size, and their share of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum {
    /// Of all messages; those of all strata make 1.
    pub share: f64,
    /// Size of the whole message.
    pub bytes: u64,
}

/// Why a text says no sizes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSizes {
    /// A number or its unit.
    #[error(transparent)]
    Bytes(#[from] BadBytes),
    /// A range from more to less.
    #[error("the sizes {0} run from more to less")]
    Backwards(String),
    /// A lognormal without two usable numbers.
    #[error("expected lognormal:MEDIAN,SIGMA with a sigma from 0 to 4, such as lognormal:8K,1.5")]
    Lognormal,
    /// None of all.
    #[error(
        "{0} is no size: expected bytes such as 4096, 4K or 50M, a range such as 4K-1M or \
         uniform:4K-1M, lognormal:MEDIAN,SIGMA, or one of domino, isp2001, mstone and office"
    )]
    Unknown(String),
}

/// Why a text is no number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a size in bytes, such as 52428800 or 50M")]
pub struct BadBytes;

/// Bytes, with K, M or G for their powers of 1024: `1234`, `4K`, `50M`.
pub fn parse_bytes(text: &str) -> Result<u64, BadBytes> {
    let unit = match text.as_bytes().last() {
        Some(b'K' | b'k') => 1 << 10,
        Some(b'M' | b'm') => 1 << 20,
        Some(b'G' | b'g') => 1 << 30,
        _ => 1,
    };
    let digits = if unit == 1 { text } else { &text[..text.len() - 1] };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadBytes);
    }
    let number = digits.parse::<u64>().map_err(|_| BadBytes)?;
    number.checked_mul(unit).ok_or(BadBytes)
}

impl Sizes {
    /// As they were observed, `None` of none: strata of equal shares, each with the mean of its part. Fewer of them where
    /// they are large; what is larger than most servers take counts as that.
    pub fn observed(mut bytes: Vec<u64>, total_bytes: u64) -> Option<Self> {
        bytes.iter_mut().for_each(|size| *size = (*size).clamp(1, TAIL_BYTES as u64));
        bytes.sort_unstable();
        let mut count = OBSERVED_STRATA.min(bytes.len());
        while count > 0 {
            let part = bytes.len().div_ceil(count);
            let classes: Vec<Class> = bytes
                .chunks(part)
                .map(|sizes| Class {
                    share: sizes.len() as f64 / bytes.len() as f64,
                    shape: Shape::Fixed { bytes: sizes.iter().sum::<u64>() / sizes.len() as u64 },
                })
                .collect();
            let sum: u64 =
                classes.iter().flat_map(|class| class.strata(1)).map(|one| one.bytes).sum();
            if sum <= total_bytes || count == 1 {
                return Some(Self { text: "as observed".into(), classes });
            }
            count /= 2;
        }
        None
    }

    /// `count` strata, or a few more where a mix has so many classes. Fewer if their messages
    /// would have more than `total_bytes` together; but no class is left out.
    pub fn strata(&self, count: usize, total_bytes: u64) -> Vec<Stratum> {
        let mut count = count.max(1);
        loop {
            let strata: Vec<Stratum> =
                self.classes.iter().flat_map(|class| class.strata(count)).collect();
            let bytes = strata.iter().fold(0_u64, |sum, one| sum.saturating_add(one.bytes));
            if bytes <= total_bytes || count == 1 {
                return strata;
            }
            count /= 2;
        }
    }

    /// The mean size.
    pub fn mean_bytes(&self) -> f64 {
        self.strata(512, u64::MAX).iter().map(|one| one.share * one.bytes as f64).sum()
    }
}

impl FromStr for Sizes {
    type Err = BadSizes;

    fn from_str(text: &str) -> Result<Self, BadSizes> {
        let classes = match text {
            "domino" => shares(&DOMINO),
            "mstone" => shares(&MSTONE),
            "office" => OFFICE.to_vec(),
            "isp2001" => shares(&ISP2001),
            _ => vec![Class { share: 1.0, shape: shape(text)? }],
        };
        Ok(Self { text: text.to_owned(), classes })
    }
}

impl fmt::Display for Sizes {
    /// As it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn shape(text: &str) -> Result<Shape, BadSizes> {
    let unknown = || BadSizes::Unknown(text.to_owned());
    if let Some(parameters) = text.strip_prefix("lognormal:") {
        let (median, sigma) = parameters.split_once(',').ok_or(BadSizes::Lognormal)?;
        let median_bytes = parse_bytes(median)?.max(1) as f64;
        let sigma: f64 = sigma.trim().parse().map_err(|_| BadSizes::Lognormal)?;
        let is_usable = (0.0..=4.0).contains(&sigma);
        return is_usable
            .then_some(Shape::Lognormal { median_bytes, sigma })
            .ok_or(BadSizes::Lognormal);
    }
    let (range, is_uniform) = match text.strip_prefix("uniform:") {
        Some(range) => (range, true),
        None => (text, false),
    };
    let Some((low, high)) = range.split_once('-') else {
        let fixed = parse_bytes(text).map_err(|_| unknown())?;
        return Ok(Shape::Fixed { bytes: fixed.max(1) });
    };
    let [low, high] = [low, high].map(|end| parse_bytes(end).map(|bytes| bytes.max(1)));
    let (low, high) = (low.map_err(|_| unknown())?, high.map_err(|_| unknown())?);
    if low > high {
        return Err(BadSizes::Backwards(range.to_owned()));
    }
    let (low, high) = (low as f64, high as f64);
    Ok(if is_uniform { Shape::Uniform { low, high } } else { Shape::LogUniform { low, high } })
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Class {
    share: f64,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Fixed { bytes: u64 },
    Uniform { low: f64, high: f64 },
    LogUniform { low: f64, high: f64 },
    Lognormal { median_bytes: f64, sigma: f64 },
}

impl Class {
    /// This class's part of `count` strata, at least one.
    fn strata(&self, count: usize) -> Vec<Stratum> {
        // Messages of one size differ in their text alone: where they are large, few will do.
        let count = match self.shape {
            Shape::Fixed { bytes } => {
                count.min(usize::try_from(FIXED_BYTES / bytes).unwrap_or(count))
            }
            _ => count,
        };
        let strata = ((count as f64 * self.share).round() as usize).max(1);
        let share = self.share / strata as f64;
        let stratum = |number| Stratum { share, bytes: self.shape.mean(number, strata) };
        (0..strata).map(stratum).collect()
    }
}

impl Shape {
    /// The mean size of stratum `number` of so many equal ones. The middle of the last one would
    /// be far below its mean where the tail is heavy.
    fn mean(self, number: usize, strata: usize) -> u64 {
        if let Self::Fixed { bytes } = self {
            return bytes;
        }
        let points = if number + 1 == strata { 256 } else { 16 };
        let at = |point| (number as f64 + (point as f64 + 0.5) / points as f64) / strata as f64;
        let sum: f64 = (0..points).map(|point| self.quantile(at(point))).sum();
        (sum / points as f64).round() as u64
    }

    fn quantile(self, p: f64) -> f64 {
        match self {
            Self::Fixed { bytes } => bytes as f64,
            Self::Uniform { low, high } => low + p * (high - low),
            Self::LogUniform { low, high } => low * (high / low).powf(p),
            Self::Lognormal { median_bytes, sigma } => {
                let size = median_bytes * (sigma * normal_quantile(p)).exp();
                size.clamp(1.0, TAIL_BYTES.max(median_bytes))
            }
        }
    }
}

/// The quantile of the normal distribution, to nine digits (P. J. Acklam's approximation).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const LOW: f64 = 0.02425;
    let polynomial = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    if p > 1.0 - LOW {
        return -normal_quantile(1.0 - p);
    }
    if p < LOW {
        let q = (-2.0 * p.ln()).sqrt();
        return polynomial(&C, q) / polynomial(&D, q);
    }
    let q = p - 0.5;
    q * polynomial(&A, q * q) / polynomial(&B, q * q)
}

fn shares(table: &[(f64, u64)]) -> Vec<Class> {
    let total: f64 = table.iter().map(|(share, _)| share).sum();
    let class = |&(share, bytes)| Class { share: share / total, shape: Shape::Fixed { bytes } };
    table.iter().map(class).collect()
}

/// The table of HCL Domino's Server.Load, command `SendMessage profile` (documentation of Domino
/// 10.0.1): percent and size of the body, the last but one and the last but two rows with
/// an attachment, here as long as base64 makes it. A header of half a KiB is added to each.
const DOMINO: [(f64, u64); 6] = [
    (10.0, 500 + HEADER_BYTES),
    (30.0, 10_000 + HEADER_BYTES),
    (40.0, 50_000 + HEADER_BYTES),
    (10.0, 50_000 + in_base64(50_000) + HEADER_BYTES),
    (9.5, 150_000 + HEADER_BYTES),
    (0.5, 1_000 + in_base64(10_000_000) + HEADER_BYTES),
];

/// SPECmail2001's `MSG_SIZE_DISTRIBUTION`, an ISP's customers of the year 2001, as the free re-implementation BEE has it
/// (`msgsz.dat`): percent and whole KiB. Its shares make 100 %, its mean is 24.5 KiB.
const ISP2001: [(f64, u64); 10] = [
    (10.20, 1 << 10),
    (30.71, 2 << 10),
    (20.59, 3 << 10),
    (10.78, 4 << 10),
    (5.88, 5 << 10),
    (3.74, 6 << 10),
    (7.44, 10 << 10),
    (9.79, 100 << 10),
    (0.69, 1000 << 10),
    (0.18, 2675 << 10),
];

/// mstone's `smtp.wld`: messages of 1, 5 and 17 KiB, equally often.
const MSTONE: [(f64, u64); 3] = [(1.0, 1 << 10), (1.0, 5 << 10), (1.0, 17 << 10)];

/// Made up here, not measured: text, HTML and answers with what they quote around 12 KiB, and one
/// message in seven with documents around 300 KiB, some of many MiB. Its mean, about 115 KiB, is
/// of the order that administrators report (185 and 190 kB in public reports of pflogsumm).
const OFFICE: [Class; 2] = [
    Class { share: 0.86, shape: Shape::Lognormal { median_bytes: 12.0 * 1024.0, sigma: 1.0 } },
    Class { share: 0.14, shape: Shape::Lognormal { median_bytes: 300.0 * 1024.0, sigma: 1.3 } },
];

const HEADER_BYTES: u64 = 512;

/// Lines of 76 letters and CR LF.
const fn in_base64(bytes: u64) -> u64 {
    let letters = bytes.div_ceil(3) * 4;
    letters + letters.div_ceil(76) * 2
}

/// Lognormal sizes end here: most servers take this much still, and what they refuse for its
/// size says nothing about load.
const TAIL_BYTES: f64 = 25.0 * 1024.0 * 1024.0;

/// Sizes that observed messages are brought to.
const OBSERVED_STRATA: usize = 256;

/// What the messages of one fixed size have together, if that is several.
const FIXED_BYTES: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(text: &str) -> Sizes {
        text.parse().unwrap()
    }

    /// The share of messages of at most so many bytes.
    fn share_up_to(strata: &[Stratum], bytes: u64) -> f64 {
        strata.iter().filter(|one| one.bytes <= bytes).map(|one| one.share).sum()
    }

    #[test]
    fn bytes_have_units() {
        for (text, bytes) in [("0", 0), ("1234", 1234), ("4K", 4096), ("1m", 1 << 20)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "-1", "+1", "1.5K", "4KB", "4 K", "99999999999G", "ö", "4ö"] {
            assert_eq!(parse_bytes(text), Err(BadBytes), "{text}");
        }
    }

    #[test]
    fn strata_have_the_distribution() {
        for (text, mean, at, share) in [
            ("4096", 4096.0, 4096, 1.0),
            ("uniform:1000-3000", 2000.0, 1500, 0.25),
            ("4K-1M", 186_436.0, 64 << 10, 0.5),
            ("lognormal:8K,1.5", 25_233.0, 8192, 0.5),
            ("lognormal:8K,0", 8192.0, 8192, 1.0),
            ("mstone", 7850.7, 5 << 10, 2.0 / 3.0),
            ("domino", 118_080.5, 60_000, 0.8),
            ("isp2001", 25_119.0, 4 << 10, 0.7228),
            ("office", 117_000.0, 12 << 10, 0.43),
        ] {
            let strata = sizes(text).strata(400, u64::MAX);
            let total: f64 = strata.iter().map(|one| one.share).sum();
            assert!((total - 1.0).abs() < 1e-9, "{text}: {total}");
            let found = sizes(text).mean_bytes();
            assert!((found / mean - 1.0).abs() < 0.02, "{text}: mean {found} and not {mean}");
            let found = share_up_to(&strata, at);
            assert!((found - share).abs() < 0.01, "{text}: {found} up to {at} and not {share}");
        }
    }

    #[test]
    fn the_rare_and_large_class_of_a_mix_is_one_message_with_its_share() {
        for count in [1, 10, 512] {
            let strata = sizes("domino").strata(count, u64::MAX);
            let large: Vec<_> = strata.iter().filter(|one| one.bytes > 10_000_000).collect();
            assert!(matches!(large[..], [one] if (one.share - 0.005).abs() < 1e-9), "{large:?}");
        }
    }

    #[test]
    fn a_pool_keeps_within_its_bytes() {
        for text in ["4K-1M", "office", "50M", "uniform:1M-50M"] {
            let strata = sizes(text).strata(512, 64 << 20);
            let total: u64 = strata.iter().map(|one| one.bytes).sum();
            assert!(total <= 64 << 20, "{text}: {total}");
        }
        assert_eq!(sizes("300M").strata(512, 64 << 20).len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("", " is no size"),
            ("4X", "4X is no size"),
            ("1M-4K", "1M-4K run from more to less"),
            ("4K-", "no size"),
            ("lognormal:4K", "expected lognormal:MEDIAN,SIGMA"),
            ("lognormal:4K,NaN", "sigma from 0 to 4"),
            ("lognormal:x,1", "size in bytes"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert_eq!(sizes("office").to_string(), "office");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(
            text in "(lognormal:|uniform:|[0-9]{1,20}|[KMG,.-]|\\PC){0,8}",
            count in 0_usize..600,
        ) {
            if let Ok(sizes) = text.parse::<Sizes>() {
                let strata = sizes.strata(count, 1 << 20);
                prop_assert!(!strata.is_empty() && strata.iter().all(|one| one.bytes > 0));
            }
        }
    }
}
