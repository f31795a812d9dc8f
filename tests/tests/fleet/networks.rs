//! Connections between two processes that are slow, starved, cut or half open (T4, V3).

use std::time::Duration;

use carelink_tests::{
    fault::Fault,
    figure,
    fleet::{Load, Plan, Service},
    size,
};
use tokio::time::{Instant, sleep};

/// Far past the deadline of anything: whoever waits longer hangs.
const HANGS: Duration = Duration::from_secs(20);

#[tokio::test]
async fn t4_whatever_connections_do_nobody_hangs_and_nobody_is_signed_out() {
    let fleet = Plan::default().proxied().up().await;
    let load = Load::of(fleet.nurses("nurse", 8).await, &fleet.journal, Duration::from_millis(20));
    load.goes_on(100).await;
    let lasting = Duration::from_secs(size(5, 60).try_into().unwrap());
    let faults = [
        ("as they are", Fault::None),
        ("100 ms slower each way", Fault::Delay(Duration::from_millis(100))),
        ("at 2 kB/s", Fault::Throttle(2_000)),
        ("half open", Fault::HalfOpen),
        ("cut", Fault::Cut),
    ];
    for (what, fault) in faults {
        for service in [Service::Token, Service::Auth, Service::Audit] {
            fleet.proxy(service, 0).set(fault);
        }
        let began = Instant::now();
        sleep(lasting).await;
        let trouble = fleet.journal.trouble(began);
        for service in [Service::Token, Service::Auth, Service::Audit] {
            fleet.proxy(service, 0).set(Fault::Cut);
            fleet.proxy(service, 0).set(Fault::None);
        }
        load.goes_on(100).await;
        figure(&format!("connections to one replica of each service {what} for {} s: {trouble}", lasting.as_secs()));
        assert!(trouble.longest < HANGS, "{what}: {trouble}");
        assert!(trouble.answered > 0, "{what}: {trouble}");
    }
    let (nurses, signed_out) = load.stop().await;
    assert_eq!(signed_out, Vec::<String>::new());
    fleet.ready().await;
    let trail = fleet.whole_trail().await;
    assert_eq!((trail.against(&nurses), trail.doubled, fleet.journal.double_spends()), ((0, 0), 0, 0));
    assert_eq!(trail.disorderly(), Vec::<&str>::new());
}
