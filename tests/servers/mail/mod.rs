//! Mail servers that nobody here wrote: Debian's, for the tests of several crates. They run in the foreground with a
//! configuration of the test's own, on ports that the kernel gave. Whoever includes this has `process` beside it.

pub(crate) mod authority;
pub(crate) mod dovecot;
pub(crate) mod exim;
pub(crate) mod jail;
pub(crate) mod opensmtpd;
pub(crate) mod postfix;
pub(crate) mod programs;

use super::process;
