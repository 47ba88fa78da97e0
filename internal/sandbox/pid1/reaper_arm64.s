#include "textflag.h"

// See reaper_amd64.s.

// func reaper()
TEXT ·reaper(SB), NOSPLIT|NOFRAME, $0
	MOVD RSP, R19
	SUB  $64, R19, R20
	MOVD 16(R19), R1 // argv[1]: the workload's pid in decimal
	MOVD $0, R21
	MOVD $10, R22

digit:
	MOVBU (R1), R2
	CBZ   R2, parsed
	SUB   $48, R2, R2
	MUL   R22, R21, R21
	ADD   R2, R21, R21
	ADD   $1, R1, R1
	B     digit

parsed:
	MOVD $167, R8 // prctl(PR_SET_PDEATHSIG, SIGKILL)
	MOVD $1, R0
	MOVD $9, R1
	SVC

wait:
	MOVD $260, R8 // wait4(-1, &status, 0, nil)
	MOVD $-1, R0
	MOVD R20, R1
	MOVD $0, R2
	MOVD $0, R3
	SVC
	CMP  R21, R0
	BEQ  report
	CMN  $10, R0  // ECHILD: nothing to wait for
	BNE  wait
	B    leave

report:
	MOVD $64, R8 // write(3, &status, 4)
	MOVD $3, R0
	MOVD R20, R1
	MOVD $4, R2
	SVC

leave:
	MOVD $94, R8 // exit_group(0)
	MOVD $0, R0
	SVC
	WORD $0xCCCCCCCC
	WORD $0xCCCCCCCC
	RET

// func reaperCode() uintptr
TEXT ·reaperCode(SB), NOSPLIT, $0-8
	MOVD $·reaper(SB), R0
	MOVD R0, ret+0(FP)
	RET
