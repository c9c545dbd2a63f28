/*
 * The log of purges, the leases and the copies: two instances with a memory
 * tier each, one shared tier, one Redis that may lose what it acknowledged, and
 * an origin whose version is raised before each purge. README.md says which
 * lines of the code each part stands for, what was left out, and why that may be.
 *
 * It holds if no answer is older than the version whose purge had been
 * acknowledged as complete when the request began: if no assertion of Reader fails.
 */

/* The rules. Each can be taken out by -DNAME=0. */
#ifndef BORN_AT_SENDING
#define BORN_AT_SENDING 1 /* a response is stamped when its request leaves, not when it is stored */
#endif
#ifndef RENEW_CAUGHT_UP
#define RENEW_CAUGHT_UP 1 /* a lease is granted together with all that had to be applied */
#endif
#ifndef LEASE_FROM_SENDING
#define LEASE_FROM_SENDING 1 /* a lease counts from before it was asked for */
#endif
#ifndef NO_JOIN_OVERTAKEN
#define NO_JOIN_OVERTAKEN 1 /* nobody joins a fetch that a purge has overtaken */
#endif
#ifndef LEASE_AT_EACH_HIT
#define LEASE_AT_EACH_HIT 1 /* the clock is read at each hit */
#endif
#ifndef YOUNG_WAITS
#define YOUNG_WAITS 1 /* in an epoch known for less than a lease, a whole lease is waited out */
#endif
#ifndef RUN_ID
#define RUN_ID 1 /* the server's run_id and its replication id are in the epoch */
#endif
#ifndef REPLICATION_ID
#define REPLICATION_ID 1 /* the replication id is */
#endif
#ifndef NO_JOIN_CUT_OFF
#define NO_JOIN_CUT_OFF 1 /* without a lease nobody joins what began before */
#endif
#ifndef LEASE_REGISTERED
#define LEASE_REGISTERED 1 /* only who stands in the register is granted a lease */
#endif
#ifndef WAIT_FROM_RETURN
#define WAIT_FROM_RETURN 1 /* the wait counts from when the append has returned */
#endif

#ifndef WITNESS
#define WITNESS 0 /* 1, 2: look for a good run, which shows that there are such */
#endif
/* The size. */
#ifndef PURGES
#define PURGES 2   /* that are asked for, at most 3 */
#endif
#ifndef LOSSES
#define LOSSES 1   /* how often Redis loses what it knew */
#endif
#ifndef RESTARTS
#define RESTARTS 0 /* how often an instance ends and begins anew */
#endif
#define EPOCHS (LOSSES + 1)
#define NONE 255   /* no epoch */

/* Redis: the log and the register, in one slot. */
byte epoch;             /* what the word, the run_id and the replication id make */
byte head;              /* the sequence number of the last record */
bool registered[2];
byte told[EPOCHS];      /* the last record of each epoch that was published */
byte epochs, losses, restarts;
byte former = NONE;     /* the epoch of the master before this one, whose process lives on */

/* An instance: what it has applied, its lease, and an answer that is on its way
   to it. Of time only this is kept: whether a lease was asked for before the
   append returned (_a), and before the other instance knew its epoch (_k). */
byte at_e[2], at_s[2];
bool lease[2], lease_a[2], lease_k[2];
bool believes[2];       /* what a ticker last saw of the lease */
bool flying[2], granted[2], flying_a[2], flying_k[2];
byte flying_e[2], flying_s[2]; /* where the log stood when it was asked */
bool mature[2] = true;  /* has known its epoch for a whole lease */
#define MAY_USE(i) (LEASE_AT_EACH_HIT -> lease[i] : believes[i])

/* The purge that is under way, and the origin. */
mtype = { idle, asked, appended, waits };
mtype purge = idle;
byte version;           /* at the origin */
byte complete;          /* the newest version whose purge was acknowledged as complete */
bit who;                /* the instance that purges */
byte purge_e, purge_s;  /* the place of the record */
bool member;            /* the other one stands in the register that the append returned */
bool acknowledged;      /* the other one has reported the record as applied */
bool renewed;           /* the other one has reported since the append */
bool young;             /* the register may not know of all leases */
#define OTHER (1 - who)
#define APPLIED(i) (at_e[i] == purge_e && at_s[i] >= purge_s)

/* One response, wherever it is: not asked for yet, being fetched by home, in a
   memory, in the shared tier. */
bool unborn = true, under_way, in_memory[2], in_redis;
bit home;
byte copy_v, copy_e, copy_s; /* its version; Born */
#define VALID(i) (copy_e == at_e[i] && copy_s >= at_s[i])

/* Where the response will never be used again nothing can go wrong any more, and
   the search ends: positions only grow while all rules are kept. */
#define KEPT (BORN_AT_SENDING && NO_JOIN_OVERTAKEN && RUN_ID && REPLICATION_ID)
#define DEAD(i) (at_e[i] != NONE && (at_e[i] > copy_e || (at_e[i] == copy_e && at_s[i] > copy_s)))
#define OVER ((unborn && version == PURGES) || (!unborn && KEPT && DEAD(0) && DEAD(1)))

/* One request that must not be answered with the response: where it is, and
   whether there was a lease. */
bool reading, leased;
bit reader;

inline land(i) {
	flying[i] = false; granted[i] = false; flying_a[i] = false; flying_k[i] = false; flying_e[i] = 0; flying_s[i] = 0
}

inline lapse(i) { lease[i] = false; lease_a[i] = false; lease_k[i] = false }

inline over() {
	purge = idle; purge_e = 0; purge_s = 0; member = false; acknowledged = false; renewed = false; young = false; who = 0;
	lease_a[0] = false; lease_a[1] = false; flying_a[0] = false; flying_a[1] = false
}

/* From now on whatever the other instance has asked for was asked for before. */
inline mark() { lease_a[OTHER] = lease[OTHER]; flying_a[OTHER] = flying[OTHER] }

inline ask() {
	purge = asked; version++; printf("version %d at the origin; %d purges\n", version, who);
	if
	:: !WAIT_FROM_RETURN -> mark()
	:: else
	fi
}

inline close() { reading = false; reader = 0; leased = false }

active [2] proctype Instance() provided (!OVER) {
	bit i = _pid;
end:	do
	/* told: a record that is the next is applied. */
	:: d_step { at_e[i] != NONE && at_s[i] < told[at_e[i]] -> printf("%d applies a record that is told\n", i); at_s[i]++ }

	/* sync: Redis has the report, and answers. */
	:: d_step { !flying[i] -> printf("%d reports; the log stands at %d-%d\n", i, epoch, head);
		flying[i] = true; flying_e[i] = epoch; flying_s[i] = head;
		if
		:: at_e[i] == epoch && at_s[i] <= head ->
			granted[i] = true;
			registered[i] = true;
			if
			:: i == OTHER && (purge == appended || purge == waits) ->
				renewed = true;
				acknowledged = acknowledged || (purge_e == epoch && at_s[i] >= purge_s)
			:: else
			fi
		:: else
		fi }
	:: d_step { !LEASE_REGISTERED && !flying[i] && at_e[i] == epoch && at_s[i] <= head -> printf("%d is granted a lease that the register does not know\n", i);
		flying[i] = true; flying_e[i] = epoch; flying_s[i] = head; granted[i] = true }

	/* take: the answer has come. */
	:: d_step { flying[i] -> printf("%d takes the answer\n", i);
		if
		:: at_e[i] != flying_e[i] -> /* another epoch: the log is read from its beginning */
			at_e[i] = flying_e[i]; at_s[i] = flying_s[i];
			mature[i] = false; lease_k[1 - i] = lease[1 - i]; flying_k[1 - i] = flying[1 - i]
		:: at_e[i] == flying_e[i] && at_s[i] < flying_s[i] && RENEW_CAUGHT_UP -> at_s[i] = flying_s[i]
		:: else
		fi;
		if
		:: granted[i] -> lease[i] = true;
			lease_a[i] = LEASE_FROM_SENDING && flying_a[i];
			lease_k[i] = LEASE_FROM_SENDING && flying_k[i]
		:: else
		fi;
		land(i) }
	:: d_step { flying[i] -> printf("the answer to %d is lost\n", i); land(i) } /* it is lost */

	/* Time: a lease ends. Or this instance has known its epoch for a lease: what
	   the other asked for before has ended, or is over when its answer comes. */
	:: d_step { lease[i] -> printf("the lease of %d ends\n", i); lapse(i) }
	:: d_step { !mature[i] && !lease_k[1 - i] -> printf("%d has known its epoch for a lease\n", i);
		mature[i] = true;
		granted[1 - i] = granted[1 - i] && !(LEASE_FROM_SENDING && flying_k[1 - i]);
		flying_k[1 - i] = false }
	:: d_step { !LEASE_AT_EACH_HIT && believes[i] != lease[i] -> printf("the ticker of %d looks\n", i); believes[i] = lease[i] }

	/* fill: the request leaves, and the origin reads its version. The response is
	   late; then it is stored, here and in the shared tier. */
	:: d_step { unborn && at_e[i] != NONE && version < PURGES -> /* what is fetched after the last purge stays right */
		printf("%d fetches version %d, at %d-%d\n", i, version, at_e[i], at_s[i]);
		unborn = false; under_way = true; home = i; copy_v = version; copy_e = at_e[i]; copy_s = at_s[i] }
	:: d_step { under_way && home == i -> printf("%d stores the response\n", i);
		if
		:: BORN_AT_SENDING
		:: else -> copy_e = at_e[i]; copy_s = at_s[i]
		fi;
		under_way = false; in_memory[i] = true; in_redis = true }

	/* promote */
	:: d_step { in_redis && !in_memory[i] && VALID(i) -> printf("%d reads it from the shared tier\n", i); in_memory[i] = true }

	/* It ends, and begins anew with nothing. It may have left in good order. */
	:: d_step { restarts < RESTARTS && !(purge != idle && who == i) -> printf("%d ends, and begins anew\n", i);
		restarts++;
		at_e[i] = NONE; at_s[i] = 0; mature[i] = true; lapse(i); believes[i] = false; land(i); in_memory[i] = false;
		if
		:: home == i -> under_way = false
		:: else
		fi;
		if
		:: reading && reader == i -> close()
		:: else
		fi }
	:: d_step { at_e[i] == NONE && registered[i] -> printf("%d has left the register\n", i); registered[i] = false }
	od
}

active proctype Purger() provided (!OVER) {
end:	do
	:: d_step { purge == idle && version < PURGES -> ask() }
	:: d_step { purge == idle && version < PURGES && version > 0 -> who = 1; ask() } /* the first is 0's: they are alike */

	/* append: the record is in the log; then that is known. */
	:: d_step { purge == asked -> printf("the record is appended at %d-%d\n", epoch, head + 1);
		purge = appended; head++; purge_e = epoch; purge_s = head; member = registered[OTHER];
		told[epoch] = (told[epoch] < head -> head : told[epoch]) }
	:: d_step { purge == appended -> printf("the append has returned\n");
		if
		:: WAIT_FROM_RETURN -> mark()
		:: else
		fi;
		purge = waits; young = YOUNG_WAITS && (at_e[who] != purge_e || !mature[who]) }

	/* run: it is applied here, and all have reported that they have applied it; */
	:: d_step { purge == waits && APPLIED(who) && !young && (!member || acknowledged) -> printf("complete: reported by all\n");
		assert(WITNESS != 2 || !(acknowledged && losses == LOSSES));
		complete = version; over() }
	/* look: who has left in good order is not waited for; */
	:: d_step { purge == waits && member && epoch == purge_e && !registered[OTHER] -> printf("the other has left\n"); member = false }
	/* or a lease is over: what was asked for before has ended, or is over when its
	   answer comes. Who has not reported is forgotten. */
	:: d_step { purge == waits && APPLIED(who) && !lease_a[OTHER] -> printf("complete: after a lease\n");
		granted[OTHER] = granted[OTHER] && !(LEASE_FROM_SENDING && flying_a[OTHER]);
		registered[OTHER] = registered[OTHER] && (acknowledged || renewed);
		complete = version; over() }

	/* An error, or a time-out: it is in the log or not, and nobody was told that it is complete. */
	:: d_step { purge != idle -> printf("the purge ends, not complete\n"); over() }
	od
}

active proctype Loss() provided (!OVER) {
end:	do
	/* Redis is flushed, or restarts empty: the word is drawn anew. */
	:: d_step { losses < LOSSES -> printf("Redis has lost everything\n");
		losses++; epochs++; epoch = epochs; former = NONE; head = 0; registered[0] = false; registered[1] = false }

	/* It restarts with an older copy, or a replica that lags takes over: another
	   run_id, and another replication id. */
	:: atomic { losses < LOSSES -> /* not a d_step, which knows no choice */
		losses++; renewed = false; printf("Redis has lost what came last\n");
		if
		:: !REPLICATION_ID -> former = epoch
		:: else
		fi;
		if
		:: RUN_ID -> epochs++; epoch = epochs
		:: else
		fi;
		if
		:: head > 0 -> head--
		:: head > 1 -> head = head - 2
		:: true
		fi;
		if
		:: registered[0] = false
		:: true
		fi;
		if
		:: registered[1] = false
		:: true
		fi;
		told[epoch] = (told[epoch] < head -> head : told[epoch]) }

	/* The master before takes over again: its run_id is known, its replication id is new. */
	:: d_step { losses < LOSSES && former != NONE -> printf("the master before takes over again\n"); losses++; epoch = former; former = NONE }
	od
}

active proctype Reader() provided (!OVER) {
end:	do
	/* A request, and the clock, where the response would be a wrong answer. */
	:: d_step { !reading && !unborn && copy_v < complete && (MAY_USE(0) || !NO_JOIN_CUT_OFF) -> printf("a request to 0\n"); reading = true; reader = 0; leased = MAY_USE(0) }
	:: d_step { !reading && !unborn && copy_v < complete && (MAY_USE(1) || !NO_JOIN_CUT_OFF) -> printf("a request to 1\n"); reading = true; reader = 1; leased = MAY_USE(1) }

	/* A hit; or a fetch under way is joined. */
	:: d_step { reading && leased && in_memory[reader] && VALID(reader) -> printf("a hit\n"); assert(false) }
	:: d_step { reading && under_way && home == reader && (VALID(reader) || !NO_JOIN_OVERTAKEN) -> printf("it joins the fetch\n"); assert(false) }

	/* The right answer, of a response that another instance has fetched. */
	:: d_step { WITNESS == 1 && losses == LOSSES && complete == 1 && copy_v == 1 && in_memory[1 - home] && VALID(1 - home) && lease[1 - home] -> assert(false) }

	/* Else a fetch of its own, which is not older than the request. */
	:: d_step { reading -> printf("it fetches\n"); close() }
	od
}
