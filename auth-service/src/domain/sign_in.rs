//! Signing in with a password (C1 to C3): against what it is tried, and what came of it. The same work whoever was named.

use std::time::Duration;

use super::{
    hasher::{CostClass, Encoded, Stored},
    password::PasswordForm,
    user::Credentials,
};

/// Measured times scatter; the floor lies so far above what the dearest hasher takes.
const MARGIN: f64 = 1.25;

/// Why a sign-in failed; stable reasons of `sign_in.failed`. The answer is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The password does not fit.
    PasswordWrong,
    /// Nobody has that name.
    UserUnknown,
    /// The user is disabled.
    UserInactive,
    /// No password opens the account.
    PasswordUnusable,
    /// The hash is of a kind that the configuration does not allow.
    HasherNotAllowed,
}

impl Failed {
    /// The stable reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PasswordWrong => "password_wrong",
            Self::UserUnknown => "user_unknown",
            Self::UserInactive => "user_inactive",
            Self::PasswordUnusable => "password_unusable",
            Self::HasherNotAllowed => "hasher_not_allowed",
        }
    }
}

/// What a password is tried against.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The user's hash, or a dummy.
    pub against: Encoded,
    /// How the password is prepared.
    pub form: PasswordForm,
    /// Why it must fail whatever the password; none where the hash is the user's own.
    pub foregone: Option<Failed>,
}

impl Trial {
    /// The user's own hash where they may sign in; else a dummy of the dearest kind that is stored (C3).
    pub fn of(found: Option<&Credentials>, allow_md5: bool, dearest: CostClass) -> Self {
        let foregone = |failed| Self { against: dearest.dummy(), form: PasswordForm::Raw, foregone: Some(failed) };
        let Some(credentials) = found else { return foregone(Failed::UserUnknown) };
        if !credentials.user.subject.active {
            return foregone(Failed::UserInactive);
        }
        match credentials.hash.stored() {
            Stored::Unusable => foregone(Failed::PasswordUnusable),
            Stored::Usable(Encoded::Md5(_)) if !allow_md5 => foregone(Failed::HasherNotAllowed),
            Stored::Usable(against) => Self { against, form: credentials.user.form, foregone: None },
        }
    }

    /// Which try opened the account, or why none did.
    pub fn outcome(&self, fits: Option<usize>) -> Result<usize, Failed> {
        match (self.foregone, fits) {
            (Some(failed), _) => Err(failed),
            (None, Some(at)) => Ok(at),
            (None, None) => Err(Failed::PasswordWrong),
        }
    }
}

/// When a failed sign-in is answered, from when its hashing began: as if each try had been the dearest (C3).
pub fn floor(configured: Duration, dearest: Duration, tries: u32) -> Duration {
    configured.max(dearest.mul_f64(MARGIN)).saturating_mul(tries.max(1))
}

#[cfg(test)]
mod tests {
    use carelink_platform::clock::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        hasher::Prf,
        roles::Roles,
        subject::Subject,
        user::{StoredHash, User},
    };

    const DEAREST: CostClass = CostClass::Pbkdf2(Prf::Sha256, 1_000_000);

    fn credentials(active: bool, hash: &str) -> Credentials {
        let user = User {
            subject: Subject::new(Uuid::from_u128(1), 21, active, Roles::default()),
            username: "amina".to_owned(),
            email: String::new(),
            full_name: String::new(),
            active_set_here: false,
            form: PasswordForm::Nfc,
            cost_class: None,
            password_set_here: true,
            password_changed_at: None,
            last_sign_in_at: None,
            created_at: Timestamp::ZERO,
            source: String::new(),
        };
        Credentials { user, hash: StoredHash::new(hash.to_owned()) }
    }

    #[test]
    fn c3_whoever_cannot_sign_in_is_tried_against_a_dummy_of_the_dearest() {
        let md5 = "md5$salt$7267a79720379aba3801c447798d40c4";
        let cases = [
            (None, Failed::UserUnknown),
            (Some(credentials(false, md5)), Failed::UserInactive),
            (Some(credentials(true, "!")), Failed::PasswordUnusable),
            (Some(credentials(true, "gibberish")), Failed::PasswordUnusable),
            (Some(credentials(true, md5)), Failed::HasherNotAllowed),
        ];
        for (found, failed) in cases {
            let trial = Trial::of(found.as_ref(), false, DEAREST);
            assert_eq!(trial.against.cost_class(), DEAREST);
            assert_eq!(trial.outcome(Some(0)), Err(failed), "even if it fitted");
        }
        let trial = Trial::of(Some(&credentials(true, md5)), true, DEAREST);
        assert_eq!((trial.against.hasher(), trial.outcome(Some(1)), trial.outcome(None)), ("md5", Ok(1), Err(Failed::PasswordWrong)));
    }

    #[test]
    fn c3_the_floor_is_the_larger_of_both_for_each_try_made() {
        let ms = Duration::from_millis;
        assert_eq!(floor(ms(400), ms(100), 1), ms(400));
        assert_eq!(floor(ms(400), ms(800), 1), ms(1_000));
        assert_eq!(floor(ms(400), ms(100), 2), ms(800));
    }
}
