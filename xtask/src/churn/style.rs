//! How a worker behaves for the length of one window: how often it acts, and how often it moves
//! messages. Storms show what a scan does without a quiet moment; the others put single changes
//! at every point of a scan that is otherwise calm.

use std::time::Duration;

use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Acts without a pause.
    Storm,
    /// Acts without a pause some hundred times, then rests for some milliseconds.
    Bursts,
    /// One act every few milliseconds, most of them moves.
    Trickle,
    /// Some thousand acts, and then nothing.
    Flurry,
    /// Nothing.
    Still,
}

impl Style {
    const ALL: [(&str, Style); 5] = [
        ("storm", Style::Storm),
        ("bursts", Style::Bursts),
        ("trickle", Style::Trickle),
        ("flurry", Style::Flurry),
        ("still", Style::Still),
    ];

    pub(super) fn name(self) -> &'static str {
        Style::ALL.iter().find(|(_, style)| *style == self).map_or("", |(name, _)| name)
    }

    pub(super) fn parse(name: &str) -> Option<Style> {
        Style::ALL.iter().find(|(known, _)| *known == name).map(|(_, style)| *style)
    }

    /// Of 100 windows, `storms` are storms.
    pub(super) fn choose(random: &mut Random, storms: usize) -> Style {
        if random.below(100) < storms {
            return Style::Storm;
        }
        match random.below(10) {
            0..4 => Style::Bursts,
            4..7 => Style::Trickle,
            7..9 => Style::Flurry,
            _ => Style::Still,
        }
    }

    /// Of 1000 acts, how many are moves.
    pub(super) fn moves_per_mille(self) -> usize {
        match self {
            Style::Storm => 20,
            Style::Trickle => 600,
            Style::Bursts | Style::Flurry | Style::Still => 200,
        }
    }

    pub(super) fn pace(self, random: &mut Random) -> Pace {
        let left = if self == Style::Flurry { 1 + random.below(5000) } else { 0 };
        Pace { style: self, left }
    }
}

/// The pauses of a style.
pub(super) struct Pace {
    style: Style,
    left: usize,
}

impl Pace {
    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// How long to wait before the next act.
    pub(super) fn next(&mut self, random: &mut Random) -> Duration {
        match self.style {
            Style::Storm => Duration::ZERO,
            Style::Trickle => Duration::from_micros(200 + random.below(5_000) as u64),
            Style::Flurry | Style::Bursts if self.left > 0 => {
                self.left -= 1;
                Duration::ZERO
            }
            Style::Bursts => {
                self.left = 1 + random.below(400);
                Duration::from_micros(500 + random.below(30_000) as u64)
            }
            // Longer than any window is open.
            Style::Flurry | Style::Still => Duration::from_secs(3600),
        }
    }
}
