//! Tokens as text: a prefix that says the kind, an id that is not secret, 256 random bits.
//!
//! `tpa_` is an agent's, `tpc_` a caller's. Only SHA-256 of the whole text is ever stored.

use std::{fmt, hint::black_box};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

use crate::store::TokenKind;

/// A token as it is presented. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new token of a kind.
    pub fn generate(kind: TokenKind) -> Result<Self, getrandom::Error> {
        let mut id = [0; 8];
        let mut secret = [0; 32];
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        let prefix = match kind {
            TokenKind::Agent => "tpa",
            TokenKind::Admin => "tpc",
        };
        let secret = URL_SAFE_NO_PAD.encode(secret);
        Ok(Self(format!(
            "{prefix}_{:016x}_{secret}",
            u64::from_be_bytes(id)
        )))
    }

    /// The part that names the token.
    pub fn id(&self) -> &str {
        id_in(&self.0).unwrap_or_default()
    }

    /// What is stored.
    pub fn digest(&self) -> [u8; 32] {
        digest_of(&self.0)
    }

    /// The text itself, to be handed to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The id in a text that somebody presents. None when it cannot be a token.
pub(super) fn id_in(presented: &str) -> Option<&str> {
    let rest = ["tpa_", "tpc_"]
        .iter()
        .find_map(|prefix| presented.strip_prefix(prefix))?;
    let (id, secret) = rest.split_once('_')?;
    let shaped = presented.is_ascii() && id.len() == 16 && secret.len() == 43;
    shaped.then_some(id)
}

/// SHA-256 of a token's text.
pub(super) fn digest_of(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    // Both have 32 bytes.
    for (to, from) in bytes
        .iter_mut()
        .zip(digest(&SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    bytes
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}…)", self.id())
    }
}

/// Compares digests in a time that does not depend on where they differ.
pub(super) fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0u8, |difference, (left, right)| {
            black_box(difference | (left ^ right))
        });
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_and_never_shown() {
        let secret = Secret::generate(TokenKind::Agent).expect("random bytes");
        assert_eq!(id_in(secret.reveal()), Some(secret.id()));
        assert_eq!(secret.id().len(), 16);
        assert!(same(&digest_of(secret.reveal()), &secret.digest()));
        let hidden = secret
            .reveal()
            .splitn(3, '_')
            .nth(2)
            .expect("a secret part");
        assert!(!format!("{secret:?}").contains(hidden));
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        for bad in [
            "",
            "tpa_",
            "tpa__",
            "secret",
            "tpx_0011223344556677_x",
            "tpa_0_1",
        ] {
            assert!(id_in(bad).is_none(), "{bad:?}");
        }
        assert!(id_in(&format!("tpa_{}", "é".repeat(30))).is_none());
        let long = format!("tpa_0011223344556677_{}", "x".repeat(44));
        assert!(id_in(&long).is_none());
    }

    #[test]
    fn digests_that_differ_anywhere_are_not_the_same() {
        let left = [7; 32];
        for at in 0..32 {
            let mut right = left;
            right[at] ^= 1;
            assert!(!same(&left, &right));
        }
        assert!(same(&left, &left));
    }
}
