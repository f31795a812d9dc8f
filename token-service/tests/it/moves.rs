//! What clients, operators, auth-service, the clock and the process can do, in any order.

use proptest::prelude::*;

pub const USERS: usize = 2;
pub const ROLES: [&[&str]; 4] = [&["nurse"], &["doctor", "nurse"], &["doctor"], &[]];

/// A refresh token that was handed out: the last of a session, the one before, or any.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    Last(u8),
    Before(u8),
    Any(u8),
}

#[derive(Clone, Copy, Debug)]
pub enum Change {
    Disable,
    Enable,
    Password { excepted: Option<u8> },
    SignOutEverywhere,
    Roles(u8),
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    SignIn(u8),
    /// An assertion that is not used yet.
    Prove(u8),
    /// With any assertion there has been.
    Create(u8),
    Refresh(Pick),
    /// The answer is lost; so many milliseconds later the client, which still holds the old token, tries again.
    Again(Pick, i64),
    Parallel(Pick, u8),
    /// The client is gone before the answer comes.
    HangUp(Pick),
    SignOut(Pick),
    RevokeOne(u8),
    RevokeAll(u8),
    /// Of a user at auth-service; `true`: and token-service hears of it.
    Change(u8, Change, bool),
    /// Any version of a user there has been, late or again.
    Deliver(u8, u8),
    /// Milliseconds.
    Clock(i64),
    /// So many milliseconds from a session's end.
    NearTheEnd(u8, i64),
    Sweep,
    Restart,
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![4 => any::<u8>().prop_map(Pick::Last), 2 => any::<u8>().prop_map(Pick::Before), 2 => any::<u8>().prop_map(Pick::Any)]
}

/// Any of them, those that matter more often.
pub fn op() -> impl Strategy<Value = Op> {
    let user = || 0..u8::try_from(USERS).unwrap();
    let change = prop_oneof![
        2 => Just(Change::Disable),
        3 => Just(Change::Enable),
        2 => prop::option::of(any::<u8>()).prop_map(|excepted| Change::Password { excepted }),
        1 => Just(Change::SignOutEverywhere),
        4 => any::<u8>().prop_map(Change::Roles),
    ];
    let seconds = [1, 10, 29, 30, 31, 90, 151, 899, 900, 901, 3_600, 7_199, 21_600, 43_200, -1, -5, -121, -600, -3_600, -7_100, -20_000];
    let edges = vec![-901_000_i64, -1, 0, 999, 3_599_999, 3_600_000, 7_199_999, 7_200_000];
    let clock = prop_oneof![3 => prop::sample::select(seconds.map(|s| s * 1_000).to_vec()), 1 => 0..40_000_i64, 1 => -500_i64..2_500];
    prop_oneof![
        4 => user().prop_map(Op::SignIn),
        1 => user().prop_map(Op::Prove),
        2 => any::<u8>().prop_map(Op::Create),
        12 => pick().prop_map(Op::Refresh),
        4 => (pick(), prop_oneof![0..2_000_i64, 18_000..32_000_i64]).prop_map(|(pick, millis)| Op::Again(pick, millis)),
        3 => (pick(), 2..7_u8).prop_map(|(pick, racers)| Op::Parallel(pick, racers)),
        2 => pick().prop_map(Op::HangUp),
        2 => pick().prop_map(Op::SignOut),
        1 => any::<u8>().prop_map(Op::RevokeOne),
        1 => user().prop_map(Op::RevokeAll),
        4 => (user(), change, prop::bool::weighted(0.8)).prop_map(|(user, change, told)| Op::Change(user, change, told)),
        2 => (user(), any::<u8>()).prop_map(|(user, version)| Op::Deliver(user, version)),
        7 => clock.prop_map(Op::Clock),
        1 => (any::<u8>(), prop::sample::select(edges)).prop_map(|(session, millis)| Op::NearTheEnd(session, millis)),
        2 => Just(Op::Sweep),
        1 => Just(Op::Restart),
    ]
}
