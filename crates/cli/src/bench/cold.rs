//! Forgetting: drops what the operating system keeps of a data folder in memory.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{Advice, fadvise};

use super::disk;

/// Tells the kernel to drop the cached pages of every file below a folder (`posix_fadvise`, `DONTNEED`). Dirty pages
/// would stay, so each file is synced first. Directory entries and inodes stay cached.
pub fn drop_page_cache(folder: &Path) -> anyhow::Result<()> {
    for (path, _) in disk::files(folder)? {
        // Files that went away meanwhile need no dropping.
        let Ok(file) = File::open(&path) else { continue };
        file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
        fadvise(&file, 0, None, Advice::DontNeed).with_context(|| format!("cannot drop {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_cache_leaves_files_as_they_were() {
        let folder = std::env::temp_dir().join(format!("tracewell-cold-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        std::fs::write(folder.join("inner/a"), b"content").unwrap();
        drop_page_cache(&folder).unwrap();
        assert_eq!(std::fs::read(folder.join("inner/a")).unwrap(), b"content");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
