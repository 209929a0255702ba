//! Tells changes: FNV-1a with 128 bits, the same on every machine and in every version. It is no protection.

use std::fmt;

use super::{Mode, PolicyKind};

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// What was fed so far, shown in hexadecimal.
pub(crate) struct Digest(u128);

impl Digest {
    /// Of policies by their fingerprints, in order.
    pub(crate) fn of(policies: impl Iterator<Item = u128>, entities: u128, mode: &Mode) -> Self {
        let mut digest = Self(OFFSET);
        let mut count = 0_u64;
        for fingerprint in policies {
            digest.bytes(&fingerprint.to_le_bytes());
            count += 1;
        }
        digest.bytes(&count.to_le_bytes());
        digest.bytes(&entities.to_le_bytes());
        digest.feed(if mode.observe { "observe" } else { "enforce" });
        digest.feed_all(&mode.observed_services);
        digest
    }

    /// With their number, so that the last of one list is none of the next.
    pub(crate) fn feed_all(&mut self, parts: &[String]) {
        self.bytes(&(parts.len() as u64).to_le_bytes());
        parts.iter().for_each(|part| self.feed(part));
    }

    /// With its length, so that moving text from one part to the next is a change.
    pub(crate) fn feed(&mut self, part: &str) {
        self.bytes(&(part.len() as u64).to_le_bytes());
        self.bytes(part.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Of one text.
pub(crate) fn of_text(text: &str) -> u128 {
    let mut digest = Digest(OFFSET);
    digest.feed(text);
    digest.0
}

/// Of one policy.
pub(super) fn of_policy(kind: PolicyKind, id: &str, text: &str) -> u128 {
    let mut digest = Digest(OFFSET);
    digest.feed(match kind {
        PolicyKind::Access => "access",
        PolicyKind::Shaping => "shaping",
    });
    digest.feed(id);
    digest.feed(text);
    digest.0
}
