//! Mail servers, and programs that send mail, which nobody here wrote: Debian's. Servers run in the foreground with a
//! configuration of the test's own, on ports that the kernel gave.

mod jail;
mod letters;
mod programs;
mod suite;

mod dovecot;
mod postfix;

mod needs_dovecot;
mod needs_exim;
mod needs_haproxy;
mod needs_opensmtpd;
mod needs_postfix;
mod needs_swaks;
