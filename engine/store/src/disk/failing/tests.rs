use super::*;

struct World {
    dir: tempfile::TempDir,
    disk: FailingDisk,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("graves")).unwrap();
        fs::create_dir_all(dir.path().join("data")).unwrap();
        let disk = FailingDisk::new(&dir.path().join("graves"), seed);
        Self { dir, disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    fn write(&self, name: &str, text: &str) -> Box<dyn DiskFile> {
        let mut file = self.disk.create(&self.path(name)).unwrap();
        file.write_all(&mut [IoSlice::new(text.as_bytes())]).unwrap();
        file
    }

    fn sync_dir(&self) {
        self.disk.sync_dir(&self.dir.path().join("data")).unwrap();
    }
}

/// What a file may hold after a crash, over many seeds.
fn outcomes(run: impl Fn(&World), name: &str) -> std::collections::BTreeSet<Option<String>> {
    let outcome = |seed| {
        let world = World::new(seed);
        run(&world);
        world.disk.restart();
        fs::read(world.path(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    (0..256).map(outcome).collect()
}

#[test]
fn what_is_synced_with_its_directory_stays() {
    let run = |world: &World| {
        world.write("file", "text").sync().unwrap();
        world.sync_dir();
    };
    assert_eq!(outcomes(run, "file"), [Some("text".to_owned())].into());
}

#[test]
fn what_is_not_synced_may_be_lost_or_torn() {
    let run = |world: &World| drop(world.write("file", "text"));
    let outcomes = outcomes(run, "file");
    for outcome in [None, Some(""), Some("te"), Some("text")] {
        assert!(outcomes.contains(&outcome.map(str::to_owned)), "{outcome:?} is not among {outcomes:?}");
    }
    let has_hole = |text: &String| text.trim_end_matches('\0').contains('\0');
    assert!(outcomes.iter().flatten().any(has_hole), "no hole in any of {outcomes:?}");
}

#[test]
fn a_removal_and_a_replacement_may_be_undone() {
    let run = |world: &World| {
        world.write("file", "old").sync().unwrap();
        world.write("new", "new").sync().unwrap();
        world.sync_dir();
        world.disk.rename(&world.path("new"), &world.path("file")).unwrap();
        world.disk.remove(&world.path("file")).unwrap();
    };
    assert_eq!(outcomes(run, "file"), [None, Some("old".to_owned()), Some("new".to_owned())].into());
}

#[test]
fn after_a_failed_sync_a_later_one_saves_nothing() {
    let run = |world: &World| {
        let mut file = world.write("file", "ok");
        file.sync().unwrap();
        world.sync_dir();
        file.write_all(&mut [IoSlice::new(b"lost")]).unwrap();
        world.disk.fail_at(world.disk.operations(), Fault::Error);
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(fs::read(world.path("file")).unwrap(), b"oklost");
    };
    assert_eq!(outcomes(run, "file"), [Some("ok\0\0\0\0".to_owned())].into());
}

#[test]
fn after_a_crash_everything_fails_until_the_restart() {
    let world = World::new(1);
    world.disk.fail_at(0, Fault::Crash);
    assert!(world.disk.make_dir(&world.path("x")).is_err() || world.disk.is_down());
    assert!(world.disk.create(&world.path("file")).is_err());
    world.disk.restart();
    world.disk.set_full(true);
    let error = world.disk.create(&world.path("file")).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    world.disk.set_full(false);
    drop(world.write("file", "x"));
}
