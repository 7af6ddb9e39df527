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

    /// Takes what somebody presents. None when it cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let secret = Self(text.to_owned());
        let shaped = text.len() <= 128 && text.is_ascii() && secret.split().is_some();
        shaped.then_some(secret)
    }

    /// The part that names the token.
    pub fn id(&self) -> &str {
        self.split().map_or("", |(id, _)| id)
    }

    /// What is stored.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, from) in bytes
            .iter_mut()
            .zip(digest(&SHA256, self.0.as_bytes()).as_ref())
        {
            *to = *from;
        }
        bytes
    }

    /// The text itself, to be handed to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn split(&self) -> Option<(&str, &str)> {
        let rest = ["tpa_", "tpc_"]
            .iter()
            .find_map(|prefix| self.0.strip_prefix(prefix))?;
        let (id, secret) = rest.split_once('_')?;
        (id.len() == 16 && secret.len() == 43).then_some((id, secret))
    }
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
    fn a_token_is_parsed_back_and_never_shown() {
        let secret = Secret::generate(TokenKind::Agent).expect("random bytes");
        let parsed = Secret::parse(secret.reveal()).expect("a token");
        assert_eq!(parsed.id().len(), 16);
        assert!(same(&parsed.digest(), &secret.digest()));
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
            assert!(Secret::parse(bad).is_none(), "{bad:?}");
        }
        assert!(Secret::parse(&format!("tpa_{}", "é".repeat(30))).is_none());
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
