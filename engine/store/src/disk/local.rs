//! The file system of this machine.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::{Disk, DiskEntry, DiskFile, space};

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LocalFile(File::create(path)?)))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut file = File::options().write(true).open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Box::new(LocalFile(file)))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.make_dir(parent)?;
        }
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent.unwrap_or(Path::new(".")))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let bytes = if metadata.is_dir() { 0 } else { metadata.len() };
            listed.push(DiskEntry { name, bytes, is_dir: metadata.is_dir() });
        }
        listed.sort_unstable();
        Ok(listed)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        space::free_bytes(path)
    }
}

struct LocalFile(File);

impl DiskFile for LocalFile {
    fn write_all(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.0.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)?;
        self.0.seek(SeekFrom::Start(bytes)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_parts_in_order_and_cuts_them() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        LocalDisk.make_dir(&deep).unwrap();
        let path = deep.join("file");
        let parts: Vec<Vec<u8>> = (0..5_000_u32).map(|part| vec![part as u8; part as usize % 7]).collect();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut file = LocalDisk.create(&path).unwrap();
        file.write_all(&mut slices).unwrap();
        assert_eq!(fs::read(&path).unwrap(), parts.concat(), "also more parts than one call of the system takes");

        file.truncate(3).unwrap();
        file.write_all(&mut [IoSlice::new(b"end")]).unwrap();
        file.sync().unwrap();
        LocalDisk.append(&path).unwrap().write_all(&mut [IoSlice::new(b"!")]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [&parts.concat()[..3], b"end!"].concat());

        let entry = DiskEntry { name: "file".to_owned(), bytes: 7, is_dir: false };
        assert_eq!(LocalDisk.list(&deep).unwrap(), [entry]);
        assert!(LocalDisk.list(&dir.path().join("absent")).unwrap().is_empty());
        assert!(LocalDisk.free_bytes(dir.path()).unwrap() > 0);
    }
}
