//! Our client and our server with mail servers, and programs that send mail, which nobody here wrote: Debian's.

mod letters;
mod suite;

mod needs_dovecot;
mod needs_exim;
mod needs_haproxy;
mod needs_opensmtpd;
mod needs_postfix;
mod needs_swaks;
