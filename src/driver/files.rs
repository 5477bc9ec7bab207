//! Small files that an operator writes: the configuration, passwords, keys.

use std::io::Read;
use std::path::Path;

use crate::base::limits::PASSWORD_FILE_BYTES;
use crate::base::secret::Secret;

/// Reads a small file whole.
pub fn read(path: &Path, bytes_max: usize) -> Result<String, String> {
    let bytes = read_bytes(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| "cannot be read: it is not UTF-8".into())
}

/// The same, of whatever bytes.
pub fn read_bytes(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > bytes_max {
        return Err(format!("is longer than {bytes_max} bytes; is it the right file?"));
    }
    Ok(bytes)
}

/// The password that the file holds.
pub fn read_password(path: &Path) -> Result<Secret, String> {
    let text = read(path, PASSWORD_FILE_BYTES)?;
    // An editor ends the last line; a password does not end in one.
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err("is empty: it holds the password and nothing else".into());
    }
    Ok(Secret::new(text.into()))
}
