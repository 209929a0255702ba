//! Asks the system how much room is left: the one call that the standard library does not have.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Bytes left for an ordinary user in the file system of `path`.
#[expect(unsafe_code, reason = "statvfs fills a structure of ours; see SAFETY")]
#[expect(clippy::unnecessary_cast, reason = "the width of the fields differs between systems")]
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut space = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends with a zero byte and both pointers are valid for the call, which keeps neither.
    if unsafe { libc::statvfs(path.as_ptr(), space.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled the structure, all of whose fields are numbers.
    let space = unsafe { space.assume_init() };
    Ok((space.f_bavail as u64).saturating_mul(space.f_frsize as u64))
}
