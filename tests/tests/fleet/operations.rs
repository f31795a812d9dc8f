//! What docs/OPERATIONS.md says to type does what it shows, on a fleet as its first block makes it.

use carelink_tests::typed;

#[tokio::test]
async fn every_command_of_operations_does_what_it_shows() {
    typed::page("docs/OPERATIONS.md", 15).await;
}
