"""Keys of the XComs that tasks push beside what they return: who pushes each, and for whom."""

ESTIMATE = "estimate"  # find_new_images: what the cluster may cost; for the asset's event and the results page
APPROVAL = "approval"  # find_new_images: the question of approve_cost, if there is one
LEFT = "left"  # publish: how many images it leaves to later runs; for conclude_run
FIGURES = "figures"  # conclude_run: what the run's clusters have cost; for the results page
NOTE = "note"  # find_new_images, of a run without work, and conclude_run: what the run has done; for the run's note
FAILURE = "failure"  # each task that has failed: the first line of its error; for conclude_run
