package mapgossip

import (
	"syscall"

	"github.com/mapgossip/mapgossip/state/fakefs"
)

// chaosDisk is what a host keeps of Config.StateDir from one agent to the next.
type chaosDisk struct {
	disk    *fakefs.Disk
	trouble int // 0: well, 1: full, 2: writes fail, 3: the next one is torn
	spoilt  bool
}

func (d *chaosDisk) get() *fakefs.Disk {
	if d.disk == nil {
		d.disk = fakefs.New()
	}
	return d.disk
}

// use gives an agent this disk.
func (d *chaosDisk) use(c *Config, _ *chaosAgent) { c.StateFS = d.get().Mount() }

// kill ends what the agent does to the disk.
func (d *chaosDisk) kill() { d.get().Kill() }

// set makes trouble, or ends it.
func (d *chaosDisk) set(trouble int) {
	if !chaosFeatures.disks {
		return
	}
	disk := d.get()
	d.trouble, d.spoilt = trouble, d.spoilt || trouble != 0
	disk.Limit(-1)
	disk.Fail(nil)
	switch trouble {
	case 1:
		disk.Limit(disk.Used())
	case 2, 3:
		disk.Fail(syscall.EIO, fakefs.Write, fakefs.Sync, fakefs.Create)
	}
}

// keeps reports whether what the agent knows outlives it.
func (d *chaosDisk) keeps() bool { return chaosFeatures.disks && !d.spoilt }
