use std::fs;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
const POLICY: &str = "permit (principal, action, resource);";

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("policies/access")).unwrap();
    fs::write(dir.path().join("policies/access/a.cedar"), POLICY).unwrap();
    dir
}

fn watcher(dir: &tempfile::TempDir, poll: Duration) -> Watcher {
    let policies = dir.path().join("policies");
    let sources = Sources::read(&policies).unwrap();
    Watcher::new(&policies, poll, sources)
}

async fn changed(watcher: &mut Watcher) -> Contents {
    timeout(PATIENCE, watcher.changed()).await.expect("the change is noticed")
}

#[tokio::test]
async fn events_tell_of_a_change_long_before_the_poll() {
    let dir = directory();
    let mut watcher = watcher(&dir, Duration::from_secs(3_600));
    fs::write(dir.path().join("policies/access/b.cedar"), POLICY).unwrap();
    assert_eq!(changed(&mut watcher).await.unwrap().access.len(), 2);
}

#[tokio::test]
async fn the_poll_finds_what_no_event_told_of() {
    let dir = directory();
    let mut watcher = watcher(&dir, Duration::from_millis(20));
    watcher.watched = None;
    watcher.events = Arc::default();
    fs::write(dir.path().join("policies/access/b.cedar"), POLICY).unwrap();
    assert_eq!(changed(&mut watcher).await.unwrap().access.len(), 2);
}

#[tokio::test]
async fn saving_the_same_again_is_no_change() {
    let dir = directory();
    let mut watcher = watcher(&dir, Duration::from_secs(3_600));
    fs::write(dir.path().join("policies/access/a.cedar"), POLICY).unwrap();
    fs::write(dir.path().join("policies/access/.a.cedar.swp"), "half").unwrap();
    fs::write(dir.path().join("policies/access/b.cedar"), POLICY).unwrap();
    let contents = changed(&mut watcher).await.unwrap();
    assert_eq!(contents.access.len(), 2, "what is reported first is what differs");
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_is_followed() {
    let dir = directory();
    let mut watcher = watcher(&dir, Duration::from_millis(20));
    fs::rename(dir.path().join("policies"), dir.path().join("away")).unwrap();
    assert!(changed(&mut watcher).await.is_err());
    fs::write(dir.path().join("away/access/b.cedar"), POLICY).unwrap();
    fs::rename(dir.path().join("away"), dir.path().join("policies")).unwrap();
    assert_eq!(changed(&mut watcher).await.unwrap().access.len(), 2);
}
