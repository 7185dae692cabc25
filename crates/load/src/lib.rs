//! Synthetic load: an arrival plan, made first and from a seed, becomes SMTP transactions; what they took becomes
//! histograms that merge; those become a verdict. Response time runs from the planned start, whatever kept us from it.

pub mod deliver;
pub mod engine;
pub mod hlog;
pub mod letters;
pub mod limit;
pub mod measure;
pub mod own;
pub mod plan;
pub mod queue;
pub mod random;
pub mod replies;
pub mod result;
pub mod safety;
pub mod verdict;
