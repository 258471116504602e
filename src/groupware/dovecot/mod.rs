//! What any provider on Dovecot needs, whatever groupware is beside it: doveadm, and passwords as Dovecot stores them.

pub(crate) mod doveadm;
pub(crate) mod hasher;
pub(crate) mod password;
pub(crate) mod stored_hash;
