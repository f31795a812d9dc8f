//! One-time passwords (C6): made for typing, and strong enough that a plain digest of them gives nothing away.

use aws_lc_rs::digest;
use carelink_platform::secrets::SecretString;

/// Letters and digits that nobody takes for another.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
const GROUP: usize = 5;

/// Twenty characters of five random bits each, in groups.
pub fn password(random: &[u8; 20]) -> SecretString {
    let mut text = String::with_capacity(random.len() + random.len() / GROUP);
    for (at, byte) in random.iter().enumerate() {
        if at > 0 && at % GROUP == 0 {
            text.push('-');
        }
        let letter = ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied().unwrap_or(b'a');
        text.push(char::from(letter));
    }
    SecretString::from(text)
}

/// What is kept of one.
pub fn digest(password: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, password.as_bytes()).as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use carelink_platform::secrets::ExposeSecret;

    use super::*;

    #[test]
    fn c6_a_one_time_password_is_made_for_typing() {
        let random: [u8; 20] = std::array::from_fn(|at| u8::try_from(at * 13).unwrap());
        let text = password(&random);
        assert_eq!(text.expose_secret().len(), 23);
        assert_eq!(text.expose_secret().split('-').count(), 4);
        assert!(!text.expose_secret().contains(['l', 'i', 'o', '1']));
        assert_ne!(digest(text.expose_secret()), digest("x"));
    }
}
