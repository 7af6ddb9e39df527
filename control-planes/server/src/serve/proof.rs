//! Checks an agent's signature in its greeting. Which key belongs to which agent is not remembered yet:
//! an agent that brings a key must hold its other half.

use ring::signature::{ED25519, UnparsedPublicKey};
use turbopanel_tunnel::proto::Hello;

/// Accepts a greeting without a key, or with one that signed these bytes.
pub(super) fn verify(hello: &Hello, signed: &[u8]) -> Result<(), String> {
    if hello.public_key.is_empty() && hello.signature.is_empty() {
        return Ok(());
    }
    UnparsedPublicKey::new(&ED25519, &hello.public_key)
        .verify(signed, &hello.signature)
        .map_err(|_| "the signature in the Hello is not of the key that it names".to_owned())
}
